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
from safetensors.numpy import save_file

from model import weights
from model.backbone import BLOCKS, build_backbone
from model.pytorch_weights import pytorch_names
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
        if self.path.startswith("/moved/"):  # as Hugging Face sends on to where it keeps files
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/moved"))
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, *_):
        pass


def published_as(monkeypatch: pytest.MonkeyPatch, name: str = "resnet50", **changes: str) -> None:
    changed = weights.PUBLISHED[name]._replace(**changes)
    monkeypatch.setitem(weights.PUBLISHED, name, changed)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Serves ``tmp_path/served``; Keras's cache is ``tmp_path/home``."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / NAME).write_bytes(CONTENT)
    with Server(tmp_path / "served") as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        published_as(monkeypatch, url=f"http://127.0.0.1:{running.server_port}/{NAME}")
        monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def checksum(monkeypatch: pytest.MonkeyPatch) -> str:
    digest = hashlib.sha256(CONTENT).hexdigest()
    published_as(monkeypatch, checksum=digest)
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
    expected = f"as {NAME} with sha256 {weights.PUBLISHED['resnet50'].checksum}"
    with pytest.raises(StageError, match=expected):
        weights.download("resnet50")  # the real checksum, which the pretend file does not have


def test_without_network_a_file_put_there_by_hand_is_used(
    checksum: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    published_as(monkeypatch, url="http://127.0.0.1:9/")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(StageError) as refused:
        weights.download("resnet50")
    text = str(refused.value)
    assert "has another" not in text
    assert f"put it as {NAME} with sha256 {checksum} into {tmp_path / 'models'}" in text
    file = tmp_path / "models" / NAME
    file.write_bytes(CONTENT[1:])  # cut off on its way
    with pytest.raises(StageError, match=f"the {NAME} there has another"):
        weights.download("resnet50")
    assert file.read_bytes() == CONTENT[1:]
    file.write_bytes(CONTENT)
    assert weights.download("resnet50").read_bytes() == CONTENT


def test_imagenet_weights_go_from_the_server_into_the_network(
    server: Server, published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file, theirs = published
    shutil.copyfile(file, tmp_path / "served" / NAME)
    published_as(monkeypatch, checksum=hashlib.sha256(file.read_bytes()).hexdigest())
    network = build_backbone("resnet50", shape=(64, 64))
    weights.load_pretrained(network, "imagenet")
    assert server.asked == [f"/{NAME}"]
    layer = "conv5_block3_3_conv"
    for ours, expected in zip(
        network.get_layer(layer).get_weights(), theirs.get_layer(layer).get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, expected)


def test_weights_of_torchvision_go_from_the_server_into_the_network(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(BLOCKS, "resnet18", (1, 1, 0, 0))
    theirs = build_backbone("resnet18", shape=(64, 64))
    file = tmp_path / "served" / "model.safetensors"
    save_file(
        {
            name: np.ascontiguousarray(values.transpose(3, 2, 0, 1) if values.ndim == 4 else values)
            for layer, names in pytorch_names(theirs).items()
            for name, values in zip(names, layer.get_weights(), strict=True)
        },
        file,
    )
    published_as(
        monkeypatch,
        "resnet18",
        url=f"http://127.0.0.1:{server.server_port}/moved/{file.name}",
        checksum=hashlib.sha256(file.read_bytes()).hexdigest(),
    )
    network = build_backbone("resnet18", shape=(64, 64))
    weights.load_pretrained(network, "imagenet")
    assert server.asked == ["/moved/model.safetensors", "/model.safetensors"]
    assert (tmp_path / "home/models/resnet18.tv_in1k.safetensors").is_file()
    for ours, expected in zip(network.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_each_published_file_has_a_name_of_its_own_and_a_backbone():
    files = [published.file for published in weights.PUBLISHED.values()]
    assert len(set(files)) == len(files)
    assert set(weights.PUBLISHED) <= set(BLOCKS)


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
