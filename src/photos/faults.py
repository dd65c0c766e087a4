"""Why a photo cannot be used."""


class PhotoError(Exception):
    """A photo that cannot be used; ``reason`` is a code for ``quarantine.csv``."""

    def __init__(self, reason: str, detail: str):
        super().__init__(reason, detail)  # both, so that it can be pickled
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
