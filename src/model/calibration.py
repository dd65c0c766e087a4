"""Reads and writes models/calibration.json: the temperature and thresholds for a network."""

import json
from pathlib import Path

from pydantic import ValidationError

from photos.new_file import new_file
from scoring.decision import Calibration
from stage import StageError


def write_calibration(file: Path, calibration: Calibration) -> None:
    """Writes the fields of :class:`scoring.decision.Calibration` as JSON."""
    with new_file(file) as partial:
        partial.write_text(json.dumps(calibration.model_dump(), indent=1) + "\n")


def read_calibration(file: Path, *, network: str) -> Calibration:
    """Reads what :func:`write_calibration` wrote for the network with this sha256.

    Raises:
        StageError: the file is missing, is not a calibration, or is that of another network, for
            which alone its thresholds are proven.

    """
    try:
        calibration = Calibration.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        raise StageError(f"{file}: not found; run dvc repro evaluate") from None
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = ".".join(map(str, problem["loc"])) or "content"
        found = f"{key}: {problem['msg'].lower()}"
        raise StageError(f"{file}: not a calibration ({found}); run dvc repro evaluate") from None
    except OSError as error:
        raise StageError(f"{file}: cannot be read ({error}); run dvc repro evaluate") from None
    if calibration.network != network:
        raise StageError(
            f"{file}: measured on the network {calibration.network[:8]}…, not on this one, "
            f"{network[:8]}…; run dvc repro evaluate, or take both from one commit"
        )
    return calibration
