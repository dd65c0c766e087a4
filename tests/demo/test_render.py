"""The demo renderer, as its users meet it: files, labels, boxes and bytes."""

import csv
import hashlib
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from photos.splits import Stable

DEMO = Path(__file__).resolve().parents[2] / "data" / "demo"
sys.path.append(str(DEMO))

import listings as demo_listings  # noqa: E402
from bodies import outline  # noqa: E402
from camera import Camera, frame_vehicle  # noqa: E402
from catalogue import MODELS  # noqa: E402
from listings import Listing, draw_vehicle_for, plan_listings  # noqa: E402
from paints import PALETTE  # noqa: E402
from shading import Light, Paint  # noqa: E402
from vehicles import (  # noqa: E402
    Vehicle,
    bounding_box,
    cast_shadow,
    draw_vehicle,
    silhouette,
)

# One worker of pytest-xdist for all, so that the set is rendered once.
pytestmark = pytest.mark.xdist_group("demo")


def test_the_shipped_seed_is_the_first_to_give_every_class_val_and_test() -> None:
    planned = plan_listings(7, 96)

    def is_complete(seed: int) -> bool:
        place = Stable(seed, val=0.1, test=0.2)
        return len({(one.model, place(f"listing {one.name}")) for one in planned}) == 3 * len(
            MODELS
        )

    assert [is_complete(seed) for seed in (0, 1)] == [False, True]


PER_MODEL = 2
PARAMS = """demo:
  seed: {seed}
  photos_per_model: {count}
  quality: [60, 90]
  banners: 0.6
  workers: {workers}
"""


def render(
    folder: Path, *, workers: int = 1, seed: int = 3, count: object = PER_MODEL
) -> subprocess.CompletedProcess:
    folder.mkdir(exist_ok=True)
    text = PARAMS.format(seed=seed, count=count, workers=workers)
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    return subprocess.run(
        [sys.executable, str(DEMO / "render.py")],
        cwd=folder,
        text=True,
        capture_output=True,
        timeout=120,
    )


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "one"
    (folder / "photos").mkdir(parents=True)
    (folder / "photos" / "stale.jpg").write_bytes(b"left by an earlier run")
    result = render(folder)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="session")
def rows(rendered: Path) -> list[dict[str, str]]:
    with (rendered / "labels.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def digests(folder: Path) -> dict[str, str]:
    names = [
        *sorted((folder / "photos").iterdir()),
        folder / "labels.csv",
        folder / "contact_sheet.jpg",
    ]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in names}


def test_same_bytes_on_one_and_two_workers(rendered: Path, tmp_path: Path) -> None:
    result = render(tmp_path / "two", workers=2)
    assert result.returncode == 0, result.stderr
    assert digests(tmp_path / "two") == digests(rendered)


def test_another_seed_gives_other_photos() -> None:
    one = demo_listings.render_listing(1, plan_listings(1, 2)[0], (80, 80), 0.5)
    two = demo_listings.render_listing(2, plan_listings(1, 2)[0], (80, 80), 0.5)
    assert one[0].jpeg != two[0].jpeg


def test_every_photo_has_a_row_and_nothing_is_left_over(rendered: Path, rows: list) -> None:
    assert sorted(row["path"] for row in rows) == sorted(
        path.name for path in (rendered / "photos").iterdir()
    )
    assert list(rows[0]) == ["path", "label", "make", "listing", "x1", "y1", "x2", "y2"]


def test_all_classes_with_the_asked_count(rows: list) -> None:
    assert Counter(row["label"] for row in rows) == {m.label: PER_MODEL for m in MODELS}
    assert len(MODELS) == 12
    assert all(row["label"].startswith(row["make"] + " ") for row in rows)
    assert len({row["make"] for row in rows}) == 4


def test_file_names_do_not_tell_the_class(rows: list) -> None:
    assert all(re.fullmatch(r"L\d{4}-[1-5]\.jpg", row["path"]) for row in rows)
    numbers = [row["label"] for row in rows if row["path"].endswith("-1.jpg")]
    assert numbers != sorted(numbers)


@pytest.mark.parametrize("count", [2, 3, 7, 48])
def test_listings_have_two_to_five_photos_of_one_model(count: int) -> None:
    planned = plan_listings(5, count)
    assert {listing.photos for listing in planned} <= {2, 3, 4, 5}
    total = Counter()
    for listing in planned:
        total[listing.model] += listing.photos
    assert total == dict.fromkeys(range(len(MODELS)), count)


def test_labels_agree_within_a_listing(rows: list) -> None:
    assert len({(row["listing"], row["label"]) for row in rows}) == len(
        {row["listing"] for row in rows}
    )


def test_photos_are_jpegs_of_decent_size_with_boxes_inside(rendered: Path, rows: list) -> None:
    for row in rows:
        data = (rendered / "photos" / row["path"]).read_bytes()
        assert data[:3] == b"\xff\xd8\xff"
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        height, width = image.shape[:2]
        assert min(height, width) >= 320
        x1, y1, x2, y2 = (int(row[key]) for key in ("x1", "y1", "x2", "y2"))
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
        assert (x2 - x1) * (y2 - y1) > 0.08 * width * height
        assert image.std() > 10


@pytest.mark.parametrize("model", range(12))
def test_box_is_tight_about_the_vehicle(model: int) -> None:
    vehicle = draw_vehicle_for(3, Listing(1, model, 2, 0))
    size = (480, 360)
    for azimuth in (0.6, 1.6, -2.4):
        camera = frame_vehicle(outline(model), azimuth, 1.6, 1.6, size, 0.8, (0.5, 0.55))
        mask = silhouette((size[1] * 2, size[0] * 2), camera.scaled(2.0), vehicle)
        ys, xs = np.nonzero(mask)
        found = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) / 2
        box = np.array(bounding_box(camera, vehicle, size))
        assert np.abs(box - found).max() <= 1.5


def test_paint_tells_nothing_of_the_model() -> None:
    shares = np.array([weight for *_, weight in PALETTE])
    shares /= shares.sum()
    for seed in (3, 4):
        planned = plan_listings(seed, 72)
        for model in range(len(MODELS)):
            colours = [listing.colour for listing in planned if listing.model == model]
            counts = np.bincount(colours, minlength=len(PALETTE))
            assert (np.abs(counts - shares * len(colours)) < 1).all()


def test_neither_shade_nor_rims_depend_on_the_model() -> None:
    for number in range(1, 40):
        vehicles = [draw_vehicle_for(3, Listing(number, model, 2, 6)) for model in (0, 5, 11)]
        assert len({(vehicle.paint, vehicle.rim) for vehicle in vehicles}) == 1


def test_vehicles_of_one_colour_differ() -> None:
    drawn = {draw_vehicle_for(3, Listing(number, 0, 2, 6)).paint for number in range(1, 40)}
    assert len(drawn) == 39


@pytest.mark.parametrize("distance", range(20, 40, 2))
def test_a_shadow_stays_near_its_vehicle(distance: int) -> None:
    light = Light((0.3, 0.2, 0.93), (1, 1, 1), (1, 1, 1), (1, 1, 1), (0.5, 0.5, 0.5), shadow=0.15)
    vehicle = Vehicle(0, Paint((0.5, 0.5, 0.5), 0.0), 0)
    camera = Camera((-float(distance), 0.0, 1.6), 0.0, 640.0, 200.0, 200.0)
    plain = np.full((400, 400, 3), 180, np.uint8)
    shaded = plain.copy()
    cast_shadow(shaded, camera, vehicle, light)
    x1, y1, x2, y2 = bounding_box(camera, vehicle, (400, 400))
    wide = x2 - x1
    shaded[max(y1 - wide, 0) : y2 + wide, max(x1 - wide, 0) : x2 + wide] = 180
    assert (shaded == plain).all()


@pytest.mark.parametrize("model", range(len(MODELS)))
def test_a_vehicle_in_the_back_covers_what_a_near_one_would(model: int) -> None:
    vehicle = Vehicle(model, Paint((0.5, 0.5, 0.5), 0.0), 0)
    light = Light((0.3, 0.2, 0.93), (1, 1, 1), (1, 1, 1), (1, 1, 1), (0.5, 0.5, 0.5))
    camera = frame_vehicle(outline(model), 0.7, 1.6, 1.6, (480, 360), 0.8, (0.5, 0.5))
    covered = []
    for fine in (True, False):
        image = np.full((360, 480, 3), (0, 255, 0), np.uint8)
        draw_vehicle(image, camera, vehicle, light, fine)
        covered.append((image != (0, 255, 0)).any(axis=2))
    assert (covered[0] & covered[1]).sum() > 0.97 * (covered[0] | covered[1]).sum()


def test_contact_sheet_is_small_enough_for_git(rendered: Path) -> None:
    data = (rendered / "contact_sheet.jpg").read_bytes()
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape[1] <= 1400
    assert len(data) < 300_000


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"seed": -1}, "demo.seed"),
        ({"count": 1}, "demo.photos_per_model"),
        ({"count": "many"}, "demo.photos_per_model"),
    ],
)
def test_bad_params_end_in_one_clear_line(tmp_path: Path, change: dict, key: str) -> None:
    result = render(tmp_path / "bad", **change)
    assert result.returncode != 0
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: params.yaml: " + key)
    assert not (tmp_path / "bad" / "photos").exists()


def test_every_module_is_a_dependency_of_the_stage() -> None:
    stage = yaml.safe_load((DEMO / "dvc.yaml").read_text(encoding="utf-8"))["stages"]["render"]
    assert {dep for dep in stage["deps"] if "/" not in dep} == {p.name for p in DEMO.glob("*.py")}
    given = yaml.safe_load((DEMO / "params.yaml").read_text(encoding="utf-8"))["demo"]
    # `workers` changes no byte, so changing it must not run the stage again.
    assert set(stage["params"]) == {f"demo.{key}" for key in given if key != "workers"}
