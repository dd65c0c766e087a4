"""Photos that stay in an object store: the same results as from a folder, the same caution."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

import check_photos
import split
from clone import Clone
from photos import remote
from photos.faults import PhotoError
from photos.files import MAX_BYTES, read_bytes
from photos.remote import Store, check_place
from photos.source import Row, read_rows
from planted_copies import recompressed, scene
from stage import StageError
from tiny_photos import encode, photo_bytes
from tiny_project import GOOD, SRC, Project, refusal

pytestmark = pytest.mark.xdist_group("sharing")


class Bucket:
    """A folder of the bucket on the S3 server of this test."""

    def __init__(self, address: str, name: str):
        import boto3

        self.client = boto3.client("s3", endpoint_url=address)
        self.name = name

    @property
    def url(self) -> str:
        return f"s3://photos/{self.name}"

    def put(self, path: str, data: bytes) -> None:
        self.client.put_object(Bucket="photos", Key=f"{self.name}/{path}", Body=data)

    def upload(self, folder: Path) -> None:
        for file in folder.rglob("*"):
            if file.is_file():
                self.put(file.relative_to(folder).as_posix(), file.read_bytes())


@pytest.fixture
def bucket(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    remote._filesystem.cache_clear()  # each test has a server of its own
    return Bucket(s3, tmp_path.name)


def test_photos_in_a_store_give_the_bytes_that_a_folder_gives(
    project: Project, bucket: Bucket
) -> None:
    project.with_good_photos(
        ("gone.jpg", "Seat"),
        ("../../etc/passwd", "Seat"),
        ("torn.jpg", "Seat"),
        ("0.jpg", "Seat"),
        ("one.jpg", "Seat"),
        ("copy.jpg", "Seat"),
        ("again.jpg", "Audi"),
    )
    table = (project.root / "labels.csv").read_text().splitlines()
    # Its photo is another's copy under another label, which its own fault does not hide.
    table = [f"{line},{'wide' if line.startswith('again') else ''}" for line in table[1:]]
    (project.root / "labels.csv").write_text("\n".join(["path,label,x1", *table]) + "\n")
    project.add("again.jpg", (project.photos / GOOD[4][0]).read_bytes())
    project.add("one.jpg", encode(scene(0), ".jpg"))
    project.add("copy.jpg", encode(recompressed(scene(0), 50), ".jpg"))
    project.add("torn.jpg", photo_bytes()[:300])
    project.add("0.jpg", b"")
    bucket.upload(project.photos)
    bucket.put("labels.csv", Path("labels.csv").read_bytes())
    project.split()
    project.preprocess()
    outs = ("data/split", "data/processed", "data/records", "metrics")
    local = project.digests(*outs)
    set_aside = dict(project.quarantine())
    assert set_aside["gone.jpg"] == "missing"
    assert (set_aside["again.jpg"], set_aside[GOOD[4][0]]) == ("bad-box", "label-conflict")
    assert json.loads(Path("metrics/split.json").read_text())["near_duplicate_photos"] == 2

    shutil.rmtree(project.photos)
    data = {"photos": bucket.url, "labels": f"{bucket.url}/labels.csv"}
    for executor in ("threads", "processes"):
        for name in ("data", "metrics", ".cache"):
            shutil.rmtree(name)
        project.set(data=data, compute={"executor": executor, "workers": 2})
        project.split()
        project.preprocess()
        assert project.digests(*outs) == local


def test_a_folder_for_each_class_is_found_in_a_store(project: Project, bucket: Bucket) -> None:
    for path in ("Seat Ibiza/a/1.jpg", "Audi/2.jpg", "Audi/é.jpg", "Audi/.hidden.jpg", "loose.jpg"):
        project.add(path)
    bucket.upload(project.photos)
    bucket.put("Audi/", b"")  # the marker of a folder, as web consoles leave it
    local = read_rows(photos=project.photos, labels=project.photos)
    assert read_rows(photos=Store(bucket.url), labels=Store(bucket.url)) == local


def test_only_objects_that_changed_are_looked_at_again(
    project: Project, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.upload(project.with_good_photos().photos)
    project.set(data={"photos": bucket.url, "labels": "labels.csv"})
    project.split()
    read, asked = Store.read_listed, []

    def noted(store: Store, path: str) -> bytes:
        asked.append(path)
        return read(store, path)

    monkeypatch.setattr(Store, "read_listed", noted)
    before = project.digests("data")
    project.split()
    assert (asked, project.digests("data")) == ([], before)
    bucket.put(GOOD[0][0], photo_bytes(99))
    project.split()
    assert asked == [GOOD[0][0]]
    assert project.digests("data") != before


def test_a_store_out_of_reach_is_one_line_and_sets_nothing_aside(
    project: Project, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.with_good_photos()
    project.set(data={"photos": bucket.url, "labels": "labels.csv"})
    assert f"no folder {bucket.url}" in refusal(split.main)  # nothing was put there
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    remote._filesystem.cache_clear()
    assert f"cannot read {bucket.url}" in refusal(split.main)
    assert not Path("data").exists()


def test_dvc_sees_what_changes_in_a_store(s3: str, tmp_path: Path) -> None:
    clone, bucket = Clone(tmp_path), Bucket(s3, tmp_path.name)
    photos = clone.root / "data/tiny/photos"
    bucket.upload(photos)
    shutil.rmtree(photos)
    # What `dvc remote add` and `dvc remote modify` would write, in no time.
    config = f"['remote \"store\"']\n    url = s3://photos\n    endpointurl = {s3}\n"
    (clone.root / ".dvc/config.local").write_text(config)
    clone.set(data={"photos": f"remote://store/{bucket.name}"})
    assert clone.repro("preprocess") == ["split", "preprocess"]
    assert s3 not in (clone.root / "dvc.lock").read_text()
    assert clone.repro("preprocess") == []
    bucket.put("00.jpg", photo_bytes(99))
    assert clone.repro("split") == ["split"]


class Odd(MemoryFileSystem):
    """A store whose objects behave as their names say."""

    cachable = False
    store, pseudo_dirs = {}, []  # fsspec's own way, not to be shared with it

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_) -> bytes:
        name = path.rpartition("/")[2]
        if name == "forbidden":
            raise PermissionError("Access Denied")
        if name == "down":
            raise OSError(16, "Please reduce your request rate.")
        assert end is not None  # nothing is read without a bound
        data = super().cat_file(path, start=start, end=end)
        return data[:-1] if name == "shrinks" else data

    def info(self, path: str, **options) -> dict:
        told = super().info(path, **options)
        return {**told, "size": MAX_BYTES + 1} if path.endswith("huge") else told


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> Store:
    filesystem = Odd()
    for name in ("good", "huge", "forbidden", "shrinks", "down", "inner/good"):
        filesystem.pipe_file(f"/bucket/{name}", b"a photo")
    filesystem.pipe_file("/secret", b"no photo")
    monkeypatch.setattr(remote, "_filesystem", lambda *_: (filesystem, "/bucket"))
    return Store("s3://bucket/root")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("gone", "missing"),
        ("inner", "not-a-file"),
        ("huge", "too-large"),
        ("forbidden", "unreadable"),
        ("shrinks", "unreadable"),
        ("good?versionId=1", "unreadable"),
        *((path, "outside") for path in ("../secret", "/secret", "./good", "inner//good", "a\0b")),
        *((path, "outside") for path in ("", "s3://bucket/secret")),
    ],
)
def test_a_fault_of_one_object_is_that_photos_fault(odd: Store, path: str, reason: str) -> None:
    assert read_bytes(odd, "inner/good") == b"a photo"
    with pytest.raises(PhotoError) as found:
        read_bytes(odd, path)
    assert found.value.reason == reason


def test_a_store_that_is_down_stops_the_work(odd: Store) -> None:
    with pytest.raises(StageError, match="cannot read s3://bucket/root"):
        read_bytes(odd, "down")


@pytest.mark.parametrize("answer", [PermissionError("expired"), FileNotFoundError("no bucket")])
@pytest.mark.parametrize("path", ["gone", "forbidden"])
def test_a_store_that_lists_nothing_any_more_is_down_whatever_it_says_of_one_photo(
    odd: Store, path: str, answer: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_, **__) -> None:
        raise answer

    for question in ("info", "ls"):
        monkeypatch.setattr(Odd, question, refuse)
    with pytest.raises(StageError, match=f"cannot read s3://bucket/root .*{answer}.* run again"):
        read_bytes(odd, path)


def test_who_may_list_a_store_need_not_be_allowed_to_ask_for_its_root(
    odd: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = Odd.info

    def refuse(store: Odd, path: str, **options) -> dict:
        if path == "/bucket":
            raise PermissionError("Access Denied")
        return info(store, path, **options)

    monkeypatch.setattr(Odd, "info", refuse)
    with pytest.raises(PhotoError, match="unreadable"):
        read_bytes(odd, "forbidden")


def test_photos_are_read_ahead_but_not_far(odd: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    filesystem, _ = remote._filesystem()
    for number in range(20):
        filesystem.pipe_file(f"/bucket/{number}", b"a photo")
    read, asked = Store.read_listed, []
    monkeypatch.setattr(Store, "read_listed", lambda *of: asked.append(of[1]) or read(*of))
    monkeypatch.setattr(remote, "AHEAD_BYTES", 3 * len(b"a photo"))
    rows = [Row(str(number)) for number in range(20)]
    with closing(remote.Ahead(odd, rows)) as photos:
        assert photos[0] == (rows[0], remote.Held(b"a photo"))
        photos._pool.shutdown()
    assert sorted(asked, key=int) == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    "text",
    [
        "file:///etc",
        "local://photos",
        "http://host/photos",
        "https://host/photos",
        "memory://photos",
        "az://photos",
        "S3://photos",
        "simplecache::s3://photos",
        "zip://photos.zip::s3://photos",
        "s3://photos/x.zip::file:///etc",
        "s3://key:secret@photos/x",
        "s3://photos/../other",
        "s3://photos//x",
        "s3://photos?versionId=1",
        "s3://",
    ],
)
def test_other_urls_are_refused_with_what_to_write(project: Project, text: str) -> None:
    for key in ("photos", "labels"):
        project.set(data={key: text})
        line = refusal(split.main)
        assert f"data.{key}: found {text!r}" in line
        assert "path" in line
    assert check_place("s3://photos/x/") and check_place("a::b")


def test_check_photos_says_that_it_is_for_folders() -> None:
    assert "paths of this machine" in refusal(lambda: check_photos.main(["s3://photos/x"]))


def test_without_the_stores_library_one_line_says_what_to_install(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.with_good_photos()
    project.set(data={"photos": "s3://photos/nowhere"})
    monkeypatch.setitem(sys.modules, "dvc_s3", None)
    assert "requirements-s3.txt" in refusal(split.main)


def test_stages_start_without_the_libraries_of_stores() -> None:
    code = "import split, preprocess, sys; print({'dvc', 'fsspec', 's3fs'} & set(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    command = [sys.executable, "-c", code]
    shown = subprocess.run(command, env=environment, text=True, capture_output=True, check=True)
    assert shown.stdout.strip() == "set()"
