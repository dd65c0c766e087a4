"""Downloading published weights, against a server on this machine."""

import functools
import hashlib
import http.server
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from model import weights
from model.backbone import build_backbone
from stage import StageError

pytestmark = pytest.mark.xdist_group("keras")

NAME = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
CONTENT = b"pretend weights" * 1000


class Server(http.server.ThreadingHTTPServer):
    def __init__(self, folder: Path):
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=folder))


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Serves ``tmp_path/served``; Keras's cache is ``tmp_path/home``."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / NAME).write_bytes(CONTENT)
    with Server(tmp_path / "served") as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        monkeypatch.setattr(weights, "BASE_URL", f"http://127.0.0.1:{running.server_port}/")
        monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def checksum(monkeypatch: pytest.MonkeyPatch) -> str:
    digest = hashlib.sha256(CONTENT).hexdigest()
    monkeypatch.setitem(weights.PUBLISHED, "resnet50", digest)
    return digest


def test_weights_are_downloaded_once(server: Server, checksum: str, tmp_path: Path):
    assert checksum
    file = weights.download("resnet50")
    assert file == tmp_path / "home/models" / NAME
    assert file.read_bytes() == CONTENT
    assert weights.download("resnet50") == file
    assert server.asked == [f"/{NAME}"]


def test_a_file_with_another_checksum_is_refused(server: Server):
    assert server
    with pytest.raises(StageError, match=f"{NAME} with sha256 {weights.PUBLISHED['resnet50']}"):
        weights.download("resnet50")  # the real checksum, which the pretend file does not have


def test_without_network_a_file_put_there_by_hand_is_used(
    checksum: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(weights, "BASE_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(StageError) as refused:
        weights.download("resnet50")
    text = str(refused.value)
    assert f"put {NAME} with sha256 {checksum} into {tmp_path / 'models'}" in text
    (tmp_path / "models" / NAME).write_bytes(CONTENT)
    assert weights.download("resnet50").read_bytes() == CONTENT


def test_imagenet_weights_go_from_the_server_into_the_network(
    server: Server, published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file, theirs = published
    shutil.copyfile(file, tmp_path / "served" / NAME)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setitem(weights.PUBLISHED, "resnet50", digest)
    network = build_backbone("resnet50", shape=(64, 64))
    weights.load_pretrained(network, "imagenet")
    assert server.asked == [f"/{NAME}"]
    layer = "conv5_block3_3_conv"
    for ours, expected in zip(
        network.get_layer(layer).get_weights(), theirs.get_layer(layer).get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, expected)


def test_a_server_without_the_file_is_one_clear_error(
    server: Server, checksum: str, tmp_path: Path
):
    assert server
    assert checksum
    (tmp_path / "served" / NAME).unlink()
    with pytest.raises(StageError, match="404"):
        weights.download("resnet50")


def test_a_folder_that_nobody_may_write_to_serves_what_it_holds_and_no_other_is_taken(
    server: Server, checksum: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert checksum
    monkeypatch.setattr(weights.os, "access", lambda *_: False)
    with pytest.raises(StageError, match="nobody may write there") as refused:
        weights.download("resnet50")
    assert str(tmp_path / "home") in str(refused.value)
    (tmp_path / "home/models" / NAME).write_bytes(CONTENT)
    assert weights.download("resnet50") == tmp_path / "home/models" / NAME
    assert not server.asked


def test_of_processes_that_start_together_one_downloads(server: Server, checksum: str):
    assert checksum
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(weights.download, ["resnet50"] * 4))
    assert {file.read_bytes() for file in found} == {CONTENT}
    assert server.asked == [f"/{NAME}"]


def test_a_damaged_file_in_the_cache_is_downloaded_anew(
    server: Server, checksum: str, tmp_path: Path
):
    assert checksum
    (tmp_path / "home/models").mkdir(parents=True)
    (tmp_path / "home/models" / NAME).write_bytes(b"cut off")
    assert weights.download("resnet50").read_bytes() == CONTENT
    assert len(server.asked) == 1
