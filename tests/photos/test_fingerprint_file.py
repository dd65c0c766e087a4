"""What a file of fingerprints holds comes back, or an error does, whatever the disk does."""

import io
from pathlib import Path

import pytest

from photos import fingerprint_file
from photos.fingerprint_file import FingerprintFile
from stage import is_of_disk

MARKS = [bytes([number]) * 1024 for number in range(5)]


def test_what_is_kept_is_read_again_in_any_order_while_more_is_kept(tmp_path: Path):
    file = FingerprintFile(tmp_path / "new")
    kept = []
    for mark in MARKS:
        kept.append(file.keep(mark))
        assert [bytes(item) for item in reversed(kept)] == MARKS[len(kept) - 1 :: -1]
    assert kept == MARKS
    assert kept[0] != MARKS[1]
    assert len({*kept, *MARKS}) == len(MARKS)
    assert list((tmp_path / "new").iterdir()) == []  # nothing is left behind, whatever happens


def test_no_fingerprint_stays_none(tmp_path: Path):
    assert not FingerprintFile(tmp_path).keep(b"")


def test_a_folder_that_cannot_be_written_costs_memory_alone(tmp_path: Path):
    (tmp_path / "file").touch()
    assert FingerprintFile(tmp_path / "file").keep(MARKS[0]) is MARKS[0]


@pytest.mark.parametrize("room", [1024, 1500])
def test_what_a_full_disk_does_not_take_stays_in_memory(
    room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Full(io.BytesIO):
        def write(self, data: bytes) -> int:
            left = room - self.tell()
            if left <= 0:
                raise OSError(28, "No space left on device")
            return super().write(data[:left])

    monkeypatch.setattr(fingerprint_file.tempfile, "TemporaryFile", lambda **_: Full())
    monkeypatch.setattr(fingerprint_file, "RESERVE", 0)
    file = FingerprintFile(tmp_path)
    kept = [file.keep(mark) for mark in MARKS]
    assert kept == MARKS
    assert [item is mark for item, mark in zip(kept, MARKS, strict=True)] == [False] + 4 * [True]


def test_room_is_left_on_a_disk_for_what_the_stage_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fingerprint_file, "_LOOK", 2048)
    file = FingerprintFile(tmp_path)
    kept = [file.keep(mark) for mark in MARKS[:2]]
    monkeypatch.setattr(fingerprint_file, "RESERVE", 1 << 60)
    kept += [file.keep(mark) for mark in MARKS[2:]]
    assert kept == MARKS
    assert [isinstance(item, bytes) for item in kept] == [False, False, True, True, True]


@pytest.mark.parametrize("end", [b"", bytes(1024)])
def test_other_bytes_than_were_written_are_an_error_of_the_disk(
    end: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    disk = (tmp_path / "disk").open("w+b", buffering=0)
    monkeypatch.setattr(fingerprint_file.tempfile, "TemporaryFile", lambda **_: disk)
    file = FingerprintFile(tmp_path)
    first, second = (file.keep(mark) for mark in MARKS[1:3])
    disk.truncate(1024)
    disk.seek(1024)
    disk.write(end)
    assert bytes(first) == MARKS[1]
    with pytest.raises(OSError, match="other bytes than were written") as lost:
        bytes(second)
    assert is_of_disk(lost.value)
    disk.close()
