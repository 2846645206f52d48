"""A fresh store of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from botocore.loaders import JSONFileLoader

from tests.backend.storage.kinds import KEEP, KINDS, KeepingGCS, Lab, VersionedS3
from tests.lab import gcs, s3
from tests.lab.folder import Folder


@pytest.fixture(scope="session", autouse=True)
def service_models_are_read_once() -> Iterator[None]:
    """botocore parses megabytes of JSON anew for each client, and each test has two."""
    read = cache(JSONFileLoader().load_file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda self, path: read(path))
        yield


@pytest.fixture(params=KINDS)
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """A store with nothing in it; a test may name some of the kinds for `lab`, indirectly."""
    place, _, way = request.param.partition("-")
    if place == "file":
        folder = Folder(tmp_path / "store")
        folder.path.mkdir()
        yield Lab(folder)
    elif place == "gcs":
        soft_delete = KEEP if way == "soft-delete" else 0 * KEEP
        with gcs.GCSServer("lab", page_size=3, versioning=way == "versions", soft_delete=soft_delete) as server:
            yield Lab(gcs.Bucket(server, "lab")) if way == "trash" else KeepingGCS(gcs.Bucket(server, "lab"))
    else:
        bucket = s3.bucket(request.getfixturevalue(place))
        yield VersionedS3(bucket) if way == "versions" else Lab(bucket)
