"""A folder of local files that a test uses like a bucket.

Keys are what `xcomctl` calls an object's path below the base; unlike in a bucket, files can be aged.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Folder:
    """The files below `path`."""

    path: Path
    options: dict[str, object] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"file://{self.path}"

    def put(self, key: str, body: bytes = b"null") -> None:
        place = self.path / key
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(body)

    def get(self, key: str) -> bytes:
        """The file's bytes; raises KeyError when it is not there."""
        try:
            return (self.path / key).read_bytes()
        except FileNotFoundError:
            raise KeyError(key) from None

    def delete(self, key: str) -> None:
        (self.path / key).unlink()

    def keys(self, prefix: str = "") -> set[str]:
        files = (str(found.relative_to(self.path)) for found in self.path.rglob("*") if found.is_file())
        return {key for key in files if key.startswith(prefix)}

    def age(self, key: str, by: timedelta) -> None:
        """Move the file's times into the past."""
        place = self.path / key
        seconds = place.stat().st_mtime - by.total_seconds()
        os.utime(place, (seconds, seconds))
