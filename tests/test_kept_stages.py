"""The real stages, one after the other: after any history their outs are those of a rebuild."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

import augment
import embed
import fingerprint
import stage
import wiring
from model import runtime
from model.section import ModelParams
from photos.shards import (
    digest_of_rows,
    digest_of_shards,
    list_shards,
    read_samples,
    read_shard,
    write_array,
)
from tiny_project import Project

OUTS = ("data/processed", "data/augmented", "data/features", "data/records", "metrics")
POLICY = yaml.safe_load((wiring.ROOT / "tests/params.yaml").read_text())["augment"]
MODEL = {"backbone": "resnet18", "weights": "models/pretrained/own.keras", "threads": 1}


class Mean:
    """Stands for a network whose last digits depend on who else is in a batch."""

    def __init__(self):
        self.rows = 0

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        assert images.dtype == np.uint8
        self.rows += len(images)
        return images.mean(axis=(1, 2), dtype=np.float32) + images.mean(dtype=np.float32)


class Stages:
    """Photos of two classes and all stages up to ``embed``, in the current folder."""

    def __init__(self, project: Project):
        self.project = project
        self.photos = {f"{number}.jpg": ("Audi", "Seat")[number % 2] for number in range(8)}
        self.changes = {"preprocess": {}, "augment": {}, "embed": {}}
        for path in self.photos:
            project.add(path)
        Path(MODEL["weights"]).parent.mkdir(parents=True)
        Path(MODEL["weights"]).write_bytes(b"weights")

    def run(self) -> dict[str, str]:
        """Runs the stages and returns the digest of every file that DVC would keep."""
        self.project.label(self.photos.items())
        self.project.set(
            split={"method": "stable", "max_quarantined": 1.0},
            preprocess=self.changes["preprocess"],
        )
        document = yaml.safe_load(Path("params.yaml").read_text())
        rested = {"brightness": 0, "contrast": 0, "copies": 2}  # starts no TensorFlow
        document["augment"] = {**POLICY, **rested, **self.changes["augment"]}
        document["embed"] = {"copies": 100, **self.changes["embed"]}
        document["model"] = MODEL
        Path("params.yaml").write_text(yaml.safe_dump(document))
        self.project.split()
        self.project.preprocess()
        stage.run(augment.main)
        stage.run(embed.main)
        return self.project.digests(*OUTS)

    def forget(self) -> None:
        for out in (*OUTS[:-1], "data/.seen"):
            shutil.rmtree(out, ignore_errors=True)


@pytest.fixture(autouse=True)
def network(monkeypatch: pytest.MonkeyPatch) -> Mean:
    mean = Mean()
    monkeypatch.setattr(embed, "load_backbone", lambda *_: mean)
    monkeypatch.setattr(embed, "BATCH", 3)  # so that shards of a few photos have several
    monkeypatch.setattr(embed, "MULTIPLE", 1)
    return mean


steps = st.one_of(
    st.tuples(st.just("add"), st.sampled_from(["new-1.jpg", "new-2.jpg", "new-3.jpg"])),
    st.tuples(st.just("remove"), st.sampled_from(["0.jpg", "1.jpg", "new-1.jpg"])),
    st.tuples(st.just("relabel"), st.sampled_from(["2.jpg", "3.jpg"])),
    st.tuples(st.just("preprocess"), st.sampled_from([{}, {"fit": "stretch"}, {"shards": 2}])),
    st.tuples(st.just("augment"), st.sampled_from([{}, {"copies": 1}, {"copies": 0}, {"seed": 5}])),
    st.tuples(st.just("embed"), st.sampled_from([{}, {"copies": 1}, {"copies": 0}])),
    st.tuples(st.just("lose"), st.sampled_from(OUTS[:-1])),
)


@settings(max_examples=8)
@given(history=st.lists(steps, min_size=1, max_size=4))
@example(history=[("add", "new-1.jpg"), ("remove", "0.jpg"), ("relabel", "2.jpg")])
@example(history=[("embed", {"copies": 1}), ("embed", {"copies": 0}), ("embed", {})])
def test_any_history_of_the_real_stages_ends_as_a_rebuild(
    history: list, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("history")
        patch.chdir(folder)
        stages = Stages(Project(folder))
        stages.run()
        for kind, value in history:
            if kind == "add":
                stages.photos[stages.project.add(value)] = "Audi"
            elif kind == "remove":
                stages.photos.pop(value, None)
            elif kind == "relabel":
                stages.photos[value] = {"Audi": "Seat", "Seat": "Audi"}[stages.photos[value]]
            elif kind == "lose":
                shutil.rmtree(value)
            else:
                stages.changes[kind] = value
            kept = stages.run()
        stages.forget()
        assert stages.run() == kept


@pytest.fixture
def stages(project: Project) -> Stages:
    return Stages(project)


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {
        name
        for name in before.keys() | after.keys()
        if before.get(name) != after.get(name) and "records" not in name
    }


@pytest.mark.parametrize("copies", [2, 1, 0])
def test_each_row_of_features_is_that_of_its_photo(stages: Stages, copies: int) -> None:
    stages.changes["embed"] = {"copies": copies}
    stages.run()
    assert json.loads(embed.NOTE.read_text())["copies"] == copies
    compared = 0
    for part, photos in (
        ("train", "data/processed/train"),
        ("val", "data/processed/val"),
        ("augmented", "data/augmented"),
    ):
        for file in list_shards(Path(photos)):
            images, samples = read_shard(file)
            rows = [row for row, sample in enumerate(samples) if sample.copy <= copies]
            kept = Path("data/features") / part / file.name
            assert kept.exists() == bool(rows)
            if not rows:
                continue
            features, named = read_shard(kept)
            assert [(one.photo_id, one.copy) for one in named] == [
                (samples[row].photo_id, samples[row].copy) for row in rows
            ]
            # Mean adds to all rows of a batch the same number, by which rows cannot be told apart.
            means = images[rows].mean(axis=(1, 2), dtype=np.float32)
            apart = features - features.mean(axis=1, keepdims=True)
            expected = means - means.mean(axis=1, keepdims=True)
            np.testing.assert_allclose(apart, expected, atol=1e-3)
            assert len(np.unique(expected.round(2), axis=0)) == len(expected)
            compared += len(features)
    assert compared > 4 * (1 + copies)


def test_a_limit_above_the_copies_that_there_are_changes_nothing(stages: Stages) -> None:
    stages.changes["embed"] = {"copies": 2}
    before = stages.run()
    stages.changes["embed"] = {"copies": 9}
    assert stages.run() == before


def test_a_changed_label_changes_tables_alone(stages: Stages) -> None:
    before = stages.run()
    path = next(row["path"] for row in stages.project.manifest() if row["split"] == "train")
    stages.photos[path] = {"Audi": "Seat", "Seat": "Audi"}[stages.photos[path]]
    after = stages.run()
    names = changed(before, after)
    assert {str(Path(name).parent) for name in names} >= {"data/processed/train", "data/augmented"}
    assert not [name for name in names if name.endswith(".npy")]


def test_one_more_photo_embeds_no_batch_but_its_own(
    stages: Stages, network: Mean, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed, "BATCH", 1)  # two copies of a photo: two batches
    stages.changes["preprocess"] = {"shards": 1}
    stages.run()
    rows = {row["photo_id"] for row in stages.project.manifest()}
    network.rows = 0
    stages.photos[stages.project.add("new.jpg")] = "Audi"
    stages.run()
    split = next(row["split"] for row in stages.project.manifest() if row["photo_id"] not in rows)
    assert network.rows == {"train": 3, "val": 1, "test": 0}[split]


def test_a_damaged_feature_is_mended_as_its_batch_makes_it(stages: Stages) -> None:
    before = stages.run()
    file = max(list_shards(embed.OUT / "augmented"), key=lambda file: len(np.load(file)))
    features = np.load(file)
    features[len(features) // 2] += 1
    write_array(file, features, len(features))
    assert stages.run() == before


def test_features_note_the_pixels_that_they_are_of(stages: Stages) -> None:
    def noted() -> dict[str, str]:
        return json.loads(embed.NOTE.read_text())

    def seen() -> str:
        files = [file for folder in embed.SOURCES.values() for file in list_shards(folder)]
        return digest_of_shards(digest_of_rows(read_samples(file)) for file in files)

    stages.run()
    before = noted()
    assert before["photos"] == seen()
    stages.changes["augment"] = {"seed": 5}
    stages.run()
    assert noted()["photos"] == seen() != before["photos"]
    assert noted() == {**before, "photos": seen()}


def test_features_of_two_networks_have_no_note(stages: Stages, monkeypatch) -> None:
    """As after a kill: whoever trains on them by hand has to be told."""
    stages.run()
    Path(MODEL["weights"]).write_bytes(b"others")
    plain, made = embed.embed_shard, []

    def breaks_off(shard, **options):
        if len(made) == 2:
            raise stage.StageError("killed")
        made.append(shard)
        return plain(shard, **options)

    monkeypatch.setattr(embed, "embed_shard", breaks_off)
    with pytest.raises(SystemExit):
        stages.run()
    assert made
    assert not embed.NOTE.exists()


@pytest.mark.parametrize("made", [augment, embed])
def test_nothing_is_made_from_rows_that_are_not_those_of_their_table(stages: Stages, made) -> None:
    """As where preprocess was killed between array and table: they would be kept for good."""
    stages.run()
    for out in ("data/augmented", "data/features", "data/records/augment", "data/records/embed"):
        shutil.rmtree(out)
    file = next(file for file in list_shards(augment.TRAIN) if len(read_samples(file)) > 1)
    write_array(file, np.load(file)[::-1], len(read_samples(file)))
    with pytest.raises(stage.StageError, match=r"does not hold the pixels that .*; run dvc repro"):
        made.main()


def test_an_id_that_split_never_gave_is_one_line(stages: Stages) -> None:
    stages.run()
    file = list_shards(augment.TRAIN)[0].with_suffix(".csv")
    photo_id = read_samples(file)[0].photo_id
    file.write_text(file.read_text().replace(photo_id, "no digest"))
    with pytest.raises(
        stage.StageError, match=r"a photo_id that split never writes .*'no digest'.*; run dvc repro"
    ):
        embed.main()


def test_more_copies_keep_those_that_there_are(stages: Stages, capsys) -> None:
    stages.run()
    trained = sum(row["split"] == "train" for row in stages.project.manifest())
    stages.changes["augment"] = {"copies": 3}
    capsys.readouterr()
    stages.run()
    assert f"augment: {trained} rows made, {2 * trained} kept" in capsys.readouterr().out


def test_another_file_of_weights_makes_all_features_anew(stages: Stages, capsys) -> None:
    stages.run()
    Path(MODEL["weights"]).write_bytes(b"better")
    capsys.readouterr()
    stages.run()
    text = capsys.readouterr().out
    assert "preprocess: 0 rows made, 8 kept" in text
    assert ", 0 kept" in text.partition("embed: ")[2].partition("embed: ")[2]


def test_features_are_of_the_network_and_the_machine_that_made_them(monkeypatch) -> None:
    """Published weights have no file here whose hash would tell two backbones apart."""
    model = {"backbone": "resnet50", "weights": "imagenet", "threads": 1}

    def described(**changes: object) -> str:
        return embed.describe(ModelParams(**model | changes))

    usual = described()
    assert described() == usual
    assert len({usual, described(backbone="resnet101"), described(threads=2)}) == 3
    plain = fingerprint.version_of

    def with_cuda(name: str) -> str:
        return "9.28" if name == "nvidia-cudnn-cu12" else plain(name)

    for change in (
        lambda patch: patch.setattr(fingerprint, "version_of", with_cuda),
        lambda patch: patch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2"),
        lambda patch: patch.setenv("KERAS_TORCH_DEVICE", "cpu"),
        lambda patch: patch.setattr(runtime, "vendor_and_flags", lambda: ("another", ["avx2"])),
        lambda patch: patch.setattr(runtime, "driver_gpus", lambda: ["Model: another"]),
    ):
        with monkeypatch.context() as patch:
            change(patch)
            assert described() != usual
