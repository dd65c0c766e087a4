"""Files take the place of others whole, or not at all."""

from pathlib import Path

import pytest

from photos.new_file import new_file


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full here")
def test_a_full_disk_is_told_with_the_file_that_found_no_room(tmp_path: Path) -> None:
    file = tmp_path / "shard-000.npy"
    with (
        pytest.raises(OSError, match="No space left") as caught,
        new_file(file),
        Path("/dev/full").open("wb") as full,
    ):
        full.write(bytes(100_000))
    assert caught.value.filename == str(file)
