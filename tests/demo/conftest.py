from __future__ import annotations

from dataclasses import dataclass

import pytest

from xcomctl.demo.build import Step, build
from xcomctl.demo.sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class Built:
    sandbox: Sandbox
    steps: list[Step]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A sandbox that the installed Airflow really built. Tests only look at it."""
    folder = tmp_path_factory.mktemp("demo") / "sand box"
    return Built(Sandbox.at(folder), list(build(folder)))
