"""Fixtures that several rooms share; nothing here imports a deep-learning library."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import Phase, settings

import photos.decode  # noqa: F401  # before anything imports cv2: it sets OpenCV's pixel limit
import stage
import tiny_bundle
from model.runtime import KERNELS, ONEDNN
from tiny_project import Project

# The same examples on every run: a red test is somebody's change, not somebody's bad luck.
settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)
settings.load_profile("repeatable")

# Git tells a hook which repository it is in, and would commit there what a test makes elsewhere.
for name in ("DIR", "WORK_TREE", "INDEX_FILE", "COMMON_DIR", "OBJECT_DIRECTORY"):
    os.environ.pop(f"GIT_{name}", None)
# What a developer told Git about repositories elsewhere: no key, no hook shall be asked for, and no
# file be passed over or changed.
OWN_GIT = {
    "commit.gpgSign": "false",
    "tag.gpgSign": "false",
    "core.hooksPath": "/dev/null",
    "core.excludesFile": "/dev/null",
    "core.attributesFile": "/dev/null",
    "core.autocrlf": "false",
}
# Nor may other programs do here what a developer or `make test` told them for elsewhere.
FOR_ELSEWHERE = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "GPU", "KERAS_BACKEND")
for name in (*FOR_ELSEWHERE, "KERAS_HOME", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", *KERNELS):
    os.environ.pop(name, None)
# Stages would be compiled anew in each of their processes.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
for name in [name for name in os.environ if name.startswith("JAX_")]:
    del os.environ[name]
os.environ |= {
    "LC_ALL": "C.UTF-8",  # Git's messages are looked at
    "JAX_PLATFORMS": "cpu",
    "CUDA_VISIBLE_DEVICES": "-1",
    ONEDNN: "1",  # as stages set it, also for tests that start TensorFlow themselves
    "DVC_GLOBAL_CONFIG_DIR": "/nonexistent",
    "DVC_SYSTEM_CONFIG_DIR": "/nonexistent",
    # Servers of tests are on this machine, whatever proxy there is.
    "no_proxy": "127.0.0.1,localhost,::1",
    "NO_PROXY": "127.0.0.1,localhost,::1",
}
GIVEN = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
os.environ["GIT_CONFIG_COUNT"] = str(GIVEN + len(OWN_GIT))
for number, (key, value) in enumerate(OWN_GIT.items(), GIVEN):
    os.environ[f"GIT_CONFIG_KEY_{number}"], os.environ[f"GIT_CONFIG_VALUE_{number}"] = key, value


@pytest.fixture(scope="session", autouse=True)
def _dvc_forgets(tmp_path_factory: pytest.TempPathFactory) -> None:
    """DVC keeps something of every repository that there ever was, in a folder of the machine."""
    os.environ["DVC_SITE_CACHE_DIR"] = str(tmp_path_factory.mktemp("dvc"))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A DVC-less project in a folder of its own, which is the current one during the test."""
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples of a property test, which overwrite each other's files."""
    return tmp_path_factory.mktemp("examples")


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project after evaluate and explain; tests leave it as it is. Starts Keras."""
    import evaluate
    import explain

    root = tmp_path_factory.mktemp("evaluated")
    tiny_bundle.write_project(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        stage.run(evaluate.main)
        stage.run(explain.main)
    return root


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch):
    """The address of an S3 server on this machine with a bucket ``photos``."""
    import boto3
    from moto.server import ThreadedMotoServer

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=address).create_bucket(Bucket="photos")
    yield address
    server.stop()


LONGEST_FIRST = (
    "uses",
    "keras",
    "training",
    "graph",
    "sharing",
    "real",
    "clusters",
    "review",
    "demo",
    "hostile",
)
"""Groups of tests that share a worker; begun last, a long one would keep the other workers idle."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        mark = item.get_closest_marker("xdist_group")
        return LONGEST_FIRST.index(mark.args[0]) if mark else len(LONGEST_FIRST)

    items.sort(key=rank)  # keeps the order within a group
