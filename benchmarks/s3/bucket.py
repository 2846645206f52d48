"""What is in the stub: objects by key, and their order when it is asked for."""

from __future__ import annotations

from datetime import datetime
from hashlib import md5


class Content:
    """What an object holds; objects of equal bytes and time share it, and so the XML that a listing says of them."""

    __slots__ = ("body", "etag", "modified", "tail")

    def __init__(self, body: bytes, modified: datetime) -> None:
        self.body = body
        self.modified = modified
        self.etag = f'"{md5(body, usedforsecurity=False).hexdigest()}"'
        stamp = modified.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        self.tail = (
            f"</Key><LastModified>{stamp}</LastModified><ETag>{self.etag.replace(chr(34), '&quot;')}</ETag>"
            f"<Size>{len(body)}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )


class Bucket:
    """Objects by key. The order of keys is made when it is asked for, for S3 lists by bytes and Python by code points:
    of UTF-8 these are the same."""

    def __init__(self) -> None:
        self.objects: dict[str, Content] = {}
        self._keys: list[str] | None = None

    @property
    def keys(self) -> list[str]:
        """All keys, in order."""
        if self._keys is None:
            self._keys = sorted(self.objects)
        return self._keys

    def put(self, key: str, content: Content) -> None:
        """Write over whatever is there."""
        if key not in self.objects:
            self._keys = None
        self.objects[key] = content

    def delete(self, key: str) -> None:
        """Nothing where there is nothing."""
        if self.objects.pop(key, None) is not None:
            self._keys = None
