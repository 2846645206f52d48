"""Stores under test: each kind that xcomctl deletes from, and each way back that it has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import botocore
import pytest

from tests.lab import gcs, s3
from tests.lab.folder import Folder
from xcomctl.backend.reference import OWN_FOLDER, Address, parse_base
from xcomctl.backend.storage import Store, open_store
from xcomctl.model import (
    Deletion,
    Kept,
    Outcome,
    Removal,
    Return,
    Spared,
    StoredObject,
    WayBack,
    nothing_spared,
)

KEEP = timedelta(days=7)
TRASH = f"{OWN_FOLDER}/h/trash/op/000001/"
CONDITIONAL = tuple(int(part) for part in botocore.__version__.split(".")[:2]) >= (1, 36)

KINDS = (
    "file-rename",
    "ministack-trash",
    "ministack-versions",
    "seaweedfs-trash",
    "seaweedfs-versions",
    "gcs-trash",
    "gcs-versions",
    "gcs-soft-delete",
)


class Raw(Protocol):
    """A bucket or folder of the lab."""

    @property
    def url(self) -> str: ...

    @property
    def options(self) -> dict[str, object]: ...

    def put(self, key: str, body: bytes = ...) -> None: ...

    def get(self, key: str) -> bytes: ...

    def delete(self, key: str) -> None: ...

    def keys(self, prefix: str = ...) -> set[str]: ...


def address_of(url: str) -> Address:
    address = parse_base(url)
    assert address is not None
    return address


def opened(url: str, options: dict[str, object]) -> Store:
    """The store of a base path, as the command line opens it."""
    return open_store(address_of(url), options)


class Lab:
    """A store under test, and the bucket or folder that it is. What is removed goes as gc removes it."""

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        self.store = opened(raw.url, raw.options)
        self.prefix = address_of(raw.url).location.folder
        self._places: dict[str, str] = {}

    @property
    def way(self) -> WayBack:
        return self.store.way_back(KEEP)

    def put(self, *keys: str) -> dict[str, StoredObject]:
        """Write objects whose bytes tell their names apart, and list them."""
        for key in keys:
            self.raw.put(key, key.encode())
        return self.listed()

    def listed(self, below: str = "") -> dict[str, StoredObject]:
        """What xcomctl lists, by key, but for its own objects."""
        found = {each.name[len(self.prefix) :]: each for each in self.store.objects(self.prefix + below)}
        return {key: each for key, each in found.items() if not key.startswith(OWN_FOLDER)}

    def keys(self) -> set[str]:
        """Those of the objects that are not xcomctl's own."""
        return self.raw.keys("") - self.copies()

    def copies(self) -> set[str]:
        """The keys in xcomctl's own folder."""
        return self.raw.keys(OWN_FOLDER)

    def remove(
        self, objects: Iterable[StoredObject], *, look_first: bool = False, spared: Spared = nothing_spared
    ) -> dict[str, Deletion]:
        """What became of each, by key. Every object has an answer, and one only."""
        removals = [Removal(each, self._place(each.name)) for each in objects]
        deletions = list(self.store.remove(removals, self.way, look_first=look_first, spared=spared))
        assert sorted(d.object.name for d in deletions) == sorted(r.object.name for r in removals)
        return {deletion.object.name[len(self.prefix) :]: deletion for deletion in deletions}

    def kept(self, deletion: Deletion) -> Kept:
        """What gc knows of a removed object later."""
        return Kept(deletion.object, self.way, self._place(deletion.object.name), deletion.handle)

    def bring_back(self, deletions: Iterable[Deletion], *, forgetful: bool = False) -> dict[str, Return]:
        """What became of each, by key; `forgetful` as after a run that died before it had the answers."""
        kept = [self.kept(replace(each, handle=None) if forgetful else each) for each in deletions]
        returns = list(self.store.bring_back(kept))
        assert [returned.kept for returned in returns] == kept
        return {returned.kept.object.name[len(self.prefix) :]: returned for returned in returns}

    def kept_bytes(self) -> list[bytes]:
        """All that could still be brought back."""
        return sorted(self.raw.get(key) for key in self.copies())

    def lose_what_is_kept(self) -> None:
        """As when the trash was emptied, or a lifecycle rule ran."""
        for key in self.copies():
            self.raw.delete(key)

    def _place(self, name: str) -> str:
        return self._places.setdefault(name, f"{self.prefix}{TRASH}{len(self._places):04}")


class VersionedS3(Lab):
    """Where S3 itself keeps the bytes."""

    def __init__(self, raw: s3.Bucket) -> None:
        super().__init__(raw)
        self.bucket = raw
        self.version("Enabled")

    def version(self, status: str) -> None:
        configuration = {"Status": status}
        self.bucket.client.put_bucket_versioning(Bucket=self.bucket.name, VersioningConfiguration=configuration)

    def versions(self, key: str = "") -> list[dict[str, object]]:
        """Every version and delete marker."""
        pages = self.bucket.client.get_paginator("list_object_versions").paginate(Bucket=self.bucket.name, Prefix=key)
        return [each for page in pages for kind in ("Versions", "DeleteMarkers") for each in page.get(kind, ())]

    def _noncurrent(self) -> list[dict[str, object]]:
        return [
            {"Bucket": self.bucket.name, "Key": each["Key"], "VersionId": each["VersionId"]}
            for each in self.versions()
            if "ETag" in each and not each["IsLatest"]
        ]

    def kept_bytes(self) -> list[bytes]:
        return sorted(self.bucket.client.get_object(**each)["Body"].read() for each in self._noncurrent())

    def lose_what_is_kept(self) -> None:
        for each in self._noncurrent():
            self.bucket.client.delete_object(**each)


class KeepingGCS(Lab):
    """Where Google's bucket itself keeps the bytes."""

    def __init__(self, raw: gcs.Bucket) -> None:
        super().__init__(raw)
        self.bucket = raw

    def kept_bytes(self) -> list[bytes]:
        return sorted(blob.data for blob in self.bucket.server.kept(self.bucket.name).values())

    def lose_what_is_kept(self) -> None:
        self.bucket.server.kept(self.bucket.name).clear()


@contextmanager
def fresh_lab(kind: str, folder: Path, server: Callable[[str], s3.S3Server]) -> Iterator[Lab]:
    """A store with nothing in it, of one of `KINDS`; `server` gives the S3 servers by their names."""
    place, _, way = kind.partition("-")
    if place == "file":
        store = Folder(folder / "store")
        store.path.mkdir()
        yield Lab(store)
    elif place == "gcs":
        soft_delete = KEEP if way == "soft-delete" else 0 * KEEP
        with gcs.GCSServer("lab", page_size=3, versioning=way == "versions", soft_delete=soft_delete) as fake:
            yield Lab(gcs.Bucket(fake, "lab")) if way == "trash" else KeepingGCS(gcs.Bucket(fake, "lab"))
    else:
        bucket = s3.bucket(server(place))
        yield VersionedS3(bucket) if way == "versions" else Lab(bucket)


def require_conditions(lab: Lab) -> None:
    """Skip what takes a conditional delete where botocore cannot send one: gc looks first there, and says so.

    Where a copy comes before the delete, the condition on the copy tells the same.
    """
    if lab.store.condition is None and lab.way is WayBack.VERSIONS:
        assert not CONDITIONAL
        pytest.skip(f"botocore {botocore.__version__} cannot send conditions: the plan says so")


def is_restored(returned: Return) -> bool:
    return returned.outcome is Outcome.RESTORED
