"""`make matrix`: the tests that run a real Airflow, once for each Airflow of the list, each in its own
environment below `.matrix`. An environment is built again only when its requirements have changed.

Left out are those marked `one_airflow`: what a store refuses or a container waits for is told by code that calls no
Airflow, and of the README's commands the tour runs here too. With XCOMCTL_TEST_LONG=1 nothing is left out.

    python tests/airflow/matrix.py [VERSION…]
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = PROJECT / ".matrix"
TESTS = ("tests/airflow", "tests/demo")
OF_THE_BACKEND = tuple(
    f"tests/airflow/test_{name}.py"
    for name in (
        "hooks",
        "backend",
        "exchange",
        "verify_backend",
        "verify_store",
        "verify_classes",
        "verify_handwritten",
        "leaving",
    )
)
IN_PARALLEL = ("-n", "2", "--dist", "loadgroup")
CHOSEN = () if os.environ.get("XCOMCTL_TEST_LONG") == "1" else ("-m", "not one_airflow")
PYTHON = ">=3.11,<3.13"
"""What Airflow 2.11 and 3.4 have in common."""


@dataclass(frozen=True, slots=True)
class Target:
    """One Airflow. A pre-release needs all its parts named, for only named ones may be pre-releases."""

    version: str
    airflow: tuple[str, ...]
    tests: tuple[str, ...] = TESTS

    @property
    def folder(self) -> Path:
        return ENVIRONMENTS / self.version

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"


TARGETS = (
    Target("2.11.2", ("apache-airflow==2.11.2",)),
    # Its paths open nothing with universal-pathlib 0.3; its workers name no content type, which FastAPI wants.
    Target("3.0.6", ("apache-airflow==3.0.6", "universal-pathlib<0.3", "fastapi<0.117"), OF_THE_BACKEND),
    Target(
        "3.4.0b2",
        (
            "apache-airflow==3.4.0b2",
            "apache-airflow-core==3.4.0b2",
            "apache-airflow-task-sdk==1.4.0b2",
        ),
    ),
)


def main(versions: list[str]) -> int:
    known = {target.version: target for target in TARGETS}
    if unknown := set(versions) - set(known):
        sys.stderr.write(f"no such Airflow in the matrix: {', '.join(unknown)}. It has {', '.join(known)}\n")
        return 2
    passed = [passes(target) for target in TARGETS if target.version in (versions or known)]
    return 0 if all(passed) else 1


def passes(target: Target) -> bool:
    """Whether the tests pass with this Airflow."""
    began = time.monotonic()
    try:
        prepare(target)
        ready = time.monotonic()
        run(target.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *IN_PARALLEL, *CHOSEN, *target.tests)
    except subprocess.CalledProcessError as error:
        sys.stderr.write(f"Airflow {target.version}: {shlex.join(map(str, error.cmd))} failed\n")
        return False
    built, tested = ready - began, time.monotonic() - ready
    sys.stderr.write(f"Airflow {target.version}: built in {built:.0f} s, tested in {tested:.0f} s\n")
    return True


def prepare(target: Target) -> None:
    """Build the environment, unless its stamp shows that it was built from the same requirements."""
    stamp = target.folder / "requirements.sha256"
    wanted = fingerprint(target)
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    uv = find_uv()
    shutil.rmtree(target.folder, ignore_errors=True)
    run(uv, "venv", "--quiet", "--python", PYTHON, target.folder)
    packages = ("--group", "test", "--editable", PROJECT, *target.airflow)
    run(uv, "pip", "install", "--quiet", "--python", target.python, *packages)
    stamp.write_text(wanted)


def fingerprint(target: Target) -> str:
    """A digest of all that decides what is installed: this target and the project's own requirements."""
    parts = (PYTHON, *target.airflow, (PROJECT / "pyproject.toml").read_text("utf-8"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def find_uv() -> str:
    """uv from this Python's environment or PATH; else a copy of its own below `.matrix`."""
    beside = Path(sys.executable).with_name("uv")
    if beside.is_file():
        return str(beside)
    if found := shutil.which("uv"):
        return found
    own = ENVIRONMENTS / "uv"
    if not (own / "bin" / "uv").is_file():
        run(sys.executable, "-m", "venv", own)
        run(own / "bin" / "pip", "install", "--quiet", "uv")
    return str(own / "bin" / "uv")


def run(*command: str | Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    subprocess.run(command, check=True, cwd=PROJECT, env=environment)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
