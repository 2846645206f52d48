from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.conftest import bare, cli, home
from tests.lab.sandbox import Built

__all__ = ["bare", "cli", "home"]


@pytest.fixture
def fresh(built: Built) -> Iterator[Built]:
    """The sandbox, which the test may change."""
    yield built
    built.anew()
