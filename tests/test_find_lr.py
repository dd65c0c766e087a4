"""The learning-rate finder: its curve, its suggestion, its picture."""

from pathlib import Path

import numpy as np
import pytest

import find_lr
from model.runtime import start
from stage import StageError
from tiny_training import set_params, shrink_networks, write_shards

start(threads=1)

from model import backbone  # noqa: E402

pytestmark = pytest.mark.xdist_group("keras")


def test_a_running_mean_starts_at_the_first_loss():
    np.testing.assert_allclose(find_lr.smoothed(np.array([2.0, 2.0, 2.0])), 2.0)
    # weights 0.1 * 0.9 and 0.1, over their sum
    np.testing.assert_allclose(find_lr.smoothed(np.array([1.0, 3.0]))[1], (0.09 + 0.3) / 0.19)


def test_the_suggestion_is_half_of_where_the_loss_is_lowest():
    rates = np.geomspace(1e-3, 1, 31)
    losses = (np.log10(rates) + 1) ** 2  # lowest at 0.1
    assert find_lr.suggestion(rates, losses) == pytest.approx(0.05)
    with pytest.raises(StageError, match="lost at once"):
        find_lr.suggestion(rates[:3], losses[:3])


def test_it_draws_the_same_bytes_and_touches_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(backbone.BLOCKS, "resnet18", None)
    shrink_networks()
    write_shards()
    set_params()
    monkeypatch.setattr("sys.argv", ["find_lr.py", "--steps", "30"])
    before = {file for file in tmp_path.rglob("*") if file.is_file()}
    find_lr.main()
    shown = capsys.readouterr().out
    assert "try train.lr " in shown
    new = {file for file in tmp_path.rglob("*") if file.is_file()} - before
    assert new == {tmp_path / "metrics/find_lr.png"}
    content = find_lr.PICTURE.read_bytes()
    assert content.startswith(b"\x89PNG")
    rates = np.geomspace(1e-3, 1, 31)
    losses = (np.log10(rates) + 1) ** 2 + 1
    find_lr.draw(rates, losses, 0.05)
    once = find_lr.PICTURE.read_bytes()
    find_lr.draw(rates, losses, 0.05)
    assert find_lr.PICTURE.read_bytes() == once != content
