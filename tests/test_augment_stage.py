"""The augment stage: what copies hold, and that nothing but their keys decides it."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml

import augment
import model.photometric
import wiring
from model import runtime
from photos.shards import Sample, read_shard, shard_file, write_shard
from stage import StageError
from tiny_photos import picture
from tiny_project import refusal

pytestmark = pytest.mark.xdist_group("keras")

PARAMS = yaml.safe_load((wiring.ROOT / "tests/params.yaml").read_text())
SHIPPED, COMPUTE = PARAMS["augment"], PARAMS["compute"]
ABOUT = ("Audi One", "L1", "box", "10 20 600 400", 640, 480)
"""What is known of every photo here; copies must say the same of themselves."""

STILL = {
    **SHIPPED,
    **dict.fromkeys(("flip", "rotation", "shift", "brightness", "contrast"), 0),
    **dict.fromkeys(("saturation", "hue", "blur", "erase"), 0),
    "scale": [1, 1],
}
"""Every knob at the value that leaves a photo as it is."""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Augments some photos, given as seeds of pictures, and returns the copies by photo."""

    def run(seeds=range(5), *, workers: int = 1, shards: int = 2, **knobs) -> dict:
        folder = tmp_path / "-".join(map(str, (workers, shards, *seeds, *knobs.values())))
        (folder / "data").mkdir(parents=True, exist_ok=True)
        monkeypatch.chdir(folder)
        values = {"augment": {**SHIPPED, **knobs}, "compute": {**COMPUTE, "workers": workers}}
        Path("params.yaml").write_text(yaml.safe_dump(values))
        for number in range(shards):
            chosen = [seed for seed in seeds if seed % shards == number]
            if chosen:
                images = np.stack([picture(seed, height=32, width=48) for seed in chosen])
                rows = [Sample(f"{seed:016x}", 0, *ABOUT) for seed in chosen]
                write_shard(shard_file(Path("data/processed/train"), number), images, rows)
        augment.main()
        copies = {}
        for file in sorted(Path("data/augmented").glob("*.npy")):
            for image, sample in zip(*read_shard(file), strict=True):
                size = sample.width, sample.height
                about = (sample.label, sample.listing, sample.crop, sample.region, *size)
                assert about == ABOUT
                copies.setdefault(int(sample.photo_id, 16), {})[sample.copy] = np.array(image)
        return copies

    return run


def equal(one: dict, other: dict) -> bool:
    return all(np.array_equal(one[copy], other[copy]) for copy in one.keys() | other.keys())


def test_every_photo_gets_its_copies_and_they_differ(run):
    copies = run(copies=3)
    assert {seed: sorted(found) for seed, found in copies.items()} == {
        seed: [1, 2, 3] for seed in range(5)
    }
    for seed, found in copies.items():
        pictures = [picture(seed, height=32, width=48), *found.values()]
        assert len({image.tobytes() for image in pictures}) == 4


def test_neither_workers_nor_shards_nor_neighbours_change_a_copy(run):
    copies = run(copies=2)
    for other in (run(copies=2, workers=3), run(copies=2, shards=1), run((3,), copies=2)):
        for seed, found in other.items():
            assert equal(found, copies[seed])


def test_neither_batches_nor_order_change_a_copy():
    policy = augment.Policy(**{name: SHIPPED[name] for name in augment.Policy.model_fields})
    photos = [picture(seed, height=32, width=48) for seed in range(10)]
    pairs = [
        (photo, Sample(f"{seed:016x}", copy, *ABOUT))
        for seed, photo in enumerate(photos)
        for copy in range(1, 8)
    ]
    make = partial(augment.make_copies, policy=policy, seed=0)
    assert len(pairs) > model.photometric.BATCH
    at_once = [copy.tobytes() for copy in make(pairs)]
    assert [copy.tobytes() for pair in pairs for copy in make([pair])] == at_once
    assert [copy.tobytes() for copy in make(pairs[::-1])][::-1] == at_once


def test_more_copies_leave_the_earlier_ones_as_they_were(run):
    few, many = run(copies=1), run(copies=2)
    assert all(np.array_equal(few[seed][1], many[seed][1]) for seed in few)


def test_tensorflow_is_started_only_where_brightness_or_contrast_change(run, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("started for nothing")

    monkeypatch.setattr(model.photometric, "relight", refuse)
    run(**STILL | {"copies": 1, "hue": 0.1})
    with pytest.raises(AssertionError, match="for nothing"):
        run(**STILL | {"copies": 1, "contrast": 0.1})


def test_without_tensorflow_the_params_that_need_it_are_named(run, monkeypatch):
    def missing(name: str):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    model.photometric._program.cache_clear()
    monkeypatch.setattr(model.photometric, "import_quietly", missing)
    with pytest.raises(StageError, match=r"augment\.brightness and augment\.contrast need Tens"):
        run(**STILL | {"copies": 1, "contrast": 0.1})
    run(**STILL | {"copies": 1, "hue": 0.1})


def test_without_photos_the_stage_stops_and_leaves_the_copies(run):
    assert run(seeds=[1], copies=2)
    shutil.rmtree("data/processed/train")
    assert "data/processed/train holds no photos; run dvc repro" in refusal(augment.main)
    assert list(Path("data/augmented").glob("*.npy"))


def test_no_copies_leave_an_empty_folder(run):
    assert run(copies=0) == {}
    assert list(Path("data/augmented").iterdir()) == []


@pytest.mark.parametrize("change", ["policy", "processor", "kernels"])
def test_copies_stay_while_policy_and_machine_are_those_that_made_them(
    run, change: str, monkeypatch, capsys
):
    def counted() -> str:
        capsys.readouterr()
        augment.main()
        return capsys.readouterr().out

    run(**STILL | {"copies": 1})  # whose folder is the current one from here on
    assert "augment: 0 rows made, 5 kept" in counted()
    if change == "policy":
        values = yaml.safe_load(Path("params.yaml").read_text())
        values["augment"]["rotation"] = 20
        Path("params.yaml").write_text(yaml.safe_dump(values))
    elif change == "processor":
        monkeypatch.setattr(runtime, "vendor_and_flags", lambda: ("another", []))
    else:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert "augment: 5 rows made, 0 kept" in counted()


def test_a_worker_of_another_kind_makes_nothing():
    machine = augment.this_machine() | {"processor": ["another"], "variables": {"XLA_FLAGS": "-x"}}
    with pytest.raises(StageError, match="that started the run in processor, variables, and"):
        augment.augment_shard(None, policy=None, seed=0, made_by="", machine=machine)


def test_knobs_at_rest_leave_the_photo_as_it_is(run):
    for seed, found in run(**STILL | {"copies": 1}).items():
        difference = np.abs(found[1].astype(int) - picture(seed, height=32, width=48))
        assert difference.max() == 0


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("flip", 1.0),
        ("rotation", 20),
        ("scale", [0.5, 0.6]),
        ("shift", 0.3),
        ("brightness", 0.5),
        ("contrast", 0.9),
        ("saturation", 0.9),
        ("hue", 0.5),
        ("blur", 1.0),
        ("erase", 0.5),
        ("seed", 1),
    ],
)
def test_every_knob_changes_the_copies(run, knob: str, value):
    base = STILL if knob != "seed" else SHIPPED
    still, moved = run(**{**base, "copies": 1}), run(**{**base, "copies": 1, knob: value})
    changed = [not equal(still[seed], moved[seed]) for seed in still]
    assert sum(changed) >= 4  # a draw may come out at rest


def test_flipping_always_mirrors(run):
    for seed, found in run(**{**STILL, "copies": 1, "flip": 1.0}).items():
        mirrored = picture(seed, height=32, width=48)[:, ::-1].astype(int)
        assert np.abs(found[1] - mirrored).max() == 0
