"""A fresh store of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from botocore.loaders import JSONFileLoader

from tests.backend.storage.kinds import KINDS, Lab, fresh_lab


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
    with fresh_lab(request.param, tmp_path, request.getfixturevalue) as lab:
        yield lab
