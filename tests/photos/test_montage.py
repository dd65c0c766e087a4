"""The picture of what was cut away: worst first, the same bytes every time."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from photos import montage as module
from photos.detector_files import sha256_of
from photos.manifest import Photo
from photos.montage import BAR, PER_ROW, SHOWN, TILE, agreement
from photos.prepare import CropParams, Preparation
from photos.preparing import prepare_photos
from photos.shards import Sample, shard_file, write_shard
from stage import StageError
from tiny_photos import RED, encode

WHOLE = Preparation(size=32, fit="pad", crop=CropParams(method="none", margin=0))
BY_BOX = Preparation(size=32, fit="stretch", crop=CropParams(method="box", margin=0))


def photo(number: int, box: tuple | None) -> Photo:
    return Photo(
        f"{number:016x}", f"{number}.png", "Audi", "Audi", "", "train", *(box or [None] * 4)
    )


@pytest.fixture
def album(tmp_path: Path):
    """Makes photos of 160 x 120, all of one grey of their own, with the boxes given."""

    def album(*boxes: tuple | None) -> list[Photo]:
        for number in range(len(boxes)):
            image = np.full((120, 160, 3), 40 + number * 8 % 200, np.uint8)
            image[:60, :80] = RED
            (tmp_path / f"{number}.png").write_bytes(encode(image, ".png"))
        return [
            replace(photo(number, box), photo_id=sha256_of(tmp_path / f"{number}.png")[:16])
            for number, box in enumerate(boxes)
        ]

    return album


def montage(photos: list[Photo], *, root: Path, preparation: Preparation) -> bytes:
    """The montage of shards that hold these photos, five each, prepared so."""
    files = []
    for start in range(0, len(photos), 5):
        made = prepare_photos(photos[start : start + 5], root=root, preparation=preparation)
        rows = [(result.image, sample(photo, result.crop, result.region)) for photo, result in made]
        files.append(shard_file(root / "shards", len(files)))
        write_shard(files[-1], *zip(*rows, strict=True))
    return module.montage(files, photos, root=root, workers=2)


def sample(photo: Photo, crop: str, region: tuple | None) -> Sample:
    where = " ".join(map(str, region or ()))
    return Sample(photo.photo_id, 0, photo.label, "", crop, where, 160, 120)


def tiles(data: bytes) -> list[np.ndarray]:
    """The pairs of a montage in reading order, RGB, without their bars."""
    sheet = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), 1), cv2.COLOR_BGR2RGB)
    high, wide = TILE[0] + BAR, 2 * TILE[1]
    assert sheet.shape[1] == PER_ROW * wide
    return [
        sheet[top : top + TILE[0], left : left + wide]
        for top in range(0, sheet.shape[0], high)
        for left in range(0, sheet.shape[1], wide)
    ]


def greys(data: bytes) -> list[int]:
    """Which photos are shown, by the grey of their lower right corner on the left picture."""
    return [round((float(tile[114, 150].mean()) - 40) / 8) for tile in tiles(data)]


def test_agreement_is_the_overlap_with_the_true_box() -> None:
    found = sample(photo(0, None), "grabcut", (0, 0, 80, 60))
    assert agreement((40, 0, 120, 60), found) == pytest.approx(1 / 3)
    whole = sample(photo(0, None), "none", None)
    assert agreement((0, 0, 80, 60), whole) == pytest.approx(1 / 4)
    assert agreement(None, found) is None


def test_the_worst_crops_come_first_then_those_without_a_true_box(album, tmp_path: Path) -> None:
    photos = album((0, 0, 160, 120), None, (0, 0, 80, 60), (0, 0, 160, 60))
    # The whole photo covers 1, unknown, 1/4 and 1/2.
    assert greys(montage(photos, root=tmp_path, preparation=WHOLE)) == [2, 3, 0, 1]


def test_a_pair_is_the_photo_and_what_the_network_sees(album, tmp_path: Path) -> None:
    data = montage(album((0, 0, 80, 60)), root=tmp_path, preparation=BY_BOX)
    pair = tiles(data)[0]
    # The box of the red quarter is drawn on the left and fills the right (square, so padded).
    np.testing.assert_allclose(pair[30, 40], RED, atol=6)
    np.testing.assert_allclose(pair[60, TILE[1] + 80], RED, atol=6)
    assert np.abs(pair[:, :160].astype(int) - pair[:, 160:]).max() > 100


def test_the_same_photos_give_the_same_bytes(album, tmp_path: Path) -> None:
    photos = album(*[(0, 0, 80, 60)] * (SHOWN + 3))
    first = montage(photos, root=tmp_path, preparation=BY_BOX)
    assert first == montage(photos, root=tmp_path, preparation=BY_BOX)
    assert len(tiles(first)) == SHOWN


def test_later_photos_change_nothing(
    album, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOKED_AT", 8)
    photos = album(*[None] * 8, (0, 0, 80, 60))
    more = montage(photos, root=tmp_path, preparation=WHOLE)
    assert more == montage(photos[:8], root=tmp_path, preparation=WHOLE)
    monkeypatch.undo()
    assert greys(montage(photos, root=tmp_path, preparation=WHOLE))[0] == 8


def test_a_photo_that_went_away_is_named(album, tmp_path: Path) -> None:
    photos = album(None, None)
    montage(photos, root=tmp_path, preparation=WHOLE)
    (tmp_path / "1.png").unlink()
    with pytest.raises(StageError, match=r"1\.png: missing: .*run dvc repro$"):
        module.montage([shard_file(tmp_path / "shards", 0)], photos, root=tmp_path, workers=1)


def test_without_photos_there_is_an_empty_picture(tmp_path: Path) -> None:
    assert len(tiles(montage([], root=tmp_path, preparation=WHOLE))) == PER_ROW
