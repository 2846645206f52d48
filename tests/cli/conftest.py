"""xcomctl as its users run it: within this process where that proves enough, as a real process, or on a terminal.

None of the three sees the settings of whoever runs the tests: no XCOMCTL_, AIRFLOW_ or AWS_ variable gets through.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab import s3
from tests.lab.database import Database
from tests.lab.folder import Folder
from tests.lab.terminal import on_terminal
from tests.lab.world import World
from tests.operations.scene import BASE_FOLDER, Scene
from xcomctl.cli import main

XCOMCTL = (sys.executable, "-m", "xcomctl")
FOREIGN = (
    "XCOMCTL_",
    "AIRFLOW_",
    "_AIRFLOW_",
    "AWS_",
    "_TYPER_",
    "NO_COLOR",
    "FORCE_COLOR",
    "COLUMNS",
    "PYTHONUNBUFFERED",
)
STREAMS = ("code", "out", "err")
ONE_BY_ONE = """
import json, os, sys
from pathlib import Path
from xcomctl.cli import main
for number, words in enumerate(json.loads(sys.argv[1])):
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{number}.{name}", os.O_WRONLY | os.O_CREAT), stream)
    code = int(main(words))
    sys.stderr.flush()
    Path(f"{number}.code").write_text(str(code))
"""
PATIENCE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Result:
    """What a user sees of one run. A terminal shows both streams as `out`."""

    code: int
    out: bytes
    err: str = ""

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def lines(self) -> list[str]:
        """What a terminal shows, without its colours."""
        return [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in self.text.splitlines()]

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def column(self) -> list[str]:
        """The lines of a listing with one column."""
        return self.text.splitlines()

    def failed(self, code: int, message: str, hint: str = "") -> None:
        """Check an error: its code, one line of what, one line of what to do, and nothing else."""
        lines = self.err.splitlines()
        assert self.code == code, self.err
        assert [line.partition(" ")[0] for line in lines] == ["xcomctl:", "hint:"], self.err
        assert message in lines[0]
        assert hint in lines[1] and lines[1] != "hint: "
        assert self.out == b""


Run = Callable[..., Result]
Session = Callable[..., list[Result]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An Airflow home without anything in it."""
    folder = tmp_path / "airflow home"
    folder.mkdir()
    return folder


@pytest.fixture
def bare(home: Path) -> dict[str, str]:
    """The environment of a process: that of the tests without anything that xcomctl listens to."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return {**kept, "AIRFLOW_HOME": str(home), "HOME": str(home), "LC_ALL": "C.UTF-8"}


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], bare: dict[str, str]) -> Run:
    """Run a command line in this process, off a terminal: `cli("ls", XCOMCTL_DB=url)`."""

    def run(*words: str, **environment: str) -> Result:
        with monkeypatch.context() as patch:
            for name in os.environ.keys() - bare.keys():
                patch.delenv(name)
            for name, value in {**bare, **environment}.items():
                patch.setenv(name, value)
            capfdbinary.readouterr()
            code = main(words)
            out, err = capfdbinary.readouterr()
        return Result(code, out, err.decode())

    return run


@pytest.fixture
def process(bare: dict[str, str]) -> Run:
    """Run a command line as a process, without anything on its stdin."""
    return runner(bare, *XCOMCTL)


def runner(bare: dict[str, str], *xcomctl: str) -> Run:
    """Runs command lines of an xcomctl that is started so."""

    def run(*words: str | bytes, **environment: str) -> Result:
        done = subprocess.run(
            [*xcomctl, *words],
            env={**bare, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr.decode())

    return run


@pytest.fixture
def session(bare: dict[str, str], tmp_path: Path) -> Session:
    """Run several command lines one after the other in one process of their own, where Airflow is loaded but once."""

    def run(*lines: Sequence[str], **environment: str) -> list[Result]:
        subprocess.run(
            [sys.executable, "-c", ONE_BY_ONE, json.dumps(lines)],
            cwd=tmp_path,
            env={**bare, **environment},
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE_SECONDS,
            check=True,
        )
        shown = ([(tmp_path / f"{number}.{stream}").read_bytes() for stream in STREAMS] for number in range(len(lines)))
        return [Result(int(code), out, err.decode()) for code, out, err in shown]

    return run


@pytest.fixture
def terminal(bare: dict[str, str]) -> Run:
    """Run a command line on a terminal of 200 columns, and when it asks type something or send a signal."""

    def run(*words: str, typed: bytes | signal.Signals = b"", columns: int = 200, **environment: str) -> Result:
        return Result(*on_terminal([*XCOMCTL, *words], {**bare, "TERM": "xterm", **environment}, typed, columns))

    return run


@pytest.fixture
def scene(database: Database, world: World, store: s3.Bucket | Folder) -> Iterator[Scene]:
    """An Airflow with an empty base path."""
    if isinstance(store, Folder):
        (store.path / BASE_FOLDER).mkdir(parents=True)
    with Scene(database, world, store) as scene:
        yield scene


def place(scene: Scene) -> tuple[str, ...]:
    """The options that say where a scene is."""
    return "--db", scene.database.url, "--base-path", scene.base.text, *storage_options(scene.raw.options)


def storage_options(options: Mapping[str, object], prefix: str = "") -> list[str]:
    """fsspec's options as `--storage-option` takes them."""
    words: list[str] = []
    for name, value in options.items():
        if isinstance(value, dict):
            words += storage_options(value, f"{prefix}{name}.")
        else:
            words += ["--storage-option", f"{prefix}{name}={value}"]
    return words


def tree(*folders: Path) -> dict[str, tuple[object, ...]]:
    """Every file and folder below some folders: what is in it, and when it was changed."""
    found = {path for folder in folders for path in (folder, *folder.rglob("*"))}
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in found
    }
