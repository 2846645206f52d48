"""A sandbox that the installed Airflow really built, and its way back to how it was built."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from xcomctl.demo.build import Step, build
from xcomctl.demo.sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class Built:
    """A sandbox, and the steps that made it. Who changes it puts it back with `anew`."""

    sandbox: Sandbox
    steps: list[Step]

    @classmethod
    def at(cls, folder: Path) -> Built:
        """Build a sandbox in this folder, over one that is there."""
        built = cls(Sandbox.at(folder), list(build(folder, force=True)))
        shutil.rmtree(built._kept, ignore_errors=True)
        shutil.copytree(folder, built._kept)
        return built

    def anew(self) -> None:
        """As it was built, with the times of its files."""
        shutil.rmtree(self.sandbox.folder)
        shutil.copytree(self._kept, self.sandbox.folder)

    @property
    def _kept(self) -> Path:
        return self.sandbox.folder.with_name(f"{self.sandbox.folder.name} as built")

    def remove(self) -> None:
        """Leave nothing behind."""
        for folder in (self.sandbox.folder, self._kept):
            shutil.rmtree(folder)
