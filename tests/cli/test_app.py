"""The command line as a whole: its help, its environment variables, and how little it loads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from xcomctl import __version__
from xcomctl.cli.app import command_line

HEAVY = ["airflow", "sqlalchemy", "fsspec", "s3fs", "gcsfs", "botocore", "aiohttp", "pandas", "numpy", "pyarrow"]

OF_ITS_OWN = {("gc", "--explain"): "XCOMCTL_GC_EXPLAIN"}
"""Where another command's flag of the same name takes something else."""

SAFETIES = {
    "--yes",
    "--allow",
    "--unsafe-windows",
    "--single-pass",
    "--include-unknown-dag",
    "--ignore-archives",
}
"""The flags that must be said anew each time."""

COMMANDS = {
    name: [parameter for parameter in command.params if parameter.param_type_name == "option"]
    for name, command in command_line().commands.items()
}


def long_name(option) -> str:
    return next(name for name in option.opts if name.startswith("--"))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_has_its_environment_variable_but_those_that_lift_a_safety(name):
    variables = {long_name(option): option.envvar for option in COMMANDS[name]}
    variables.pop("--help", None)
    variables.pop("--force", None)  # of demo: it replaces a sandbox
    named = {flag: f"XCOMCTL_{flag[2:].replace('-', '_').upper()}" for flag in variables}
    assert variables == {
        flag: None if flag in SAFETIES else OF_ITS_OWN.get((name, flag), variable) for flag, variable in named.items()
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_every_environment_variable(cli: Run, name):
    shown = cli(name, "--help")
    assert (shown.code, shown.err) == (0, "")
    assert all(option.envvar in shown.text for option in COMMANDS[name] if option.envvar)
    assert cli(name, "-h") == shown


def test_help_names_every_command_and_exit_code(cli: Run):
    shown = cli("--help")
    named = {
        "ls",
        "get",
        "du",
        "fsck",
        "gc",
        "restore",
        "migrate",
        "preflight",
        "rm",
        "verify-backend",
        "completions",
        "demo",
        "help",
    }
    assert shown.code == 0 and named <= COMMANDS.keys()
    assert all(f" {name} " in shown.text for name in COMMANDS)
    assert "Exit codes: 0, 1, 2, 3, 4, 5, 10, 11, 12, " in shown.text


def test_no_command_at_all_shows_the_help(cli: Run):
    shown = cli()
    assert shown.code == 2
    assert "Usage: xcomctl" in shown.text + shown.err and "xcomctl: " not in shown.err


def test_the_version(cli: Run, process: Run):
    assert cli("--version").out == process("--version").out == f"xcomctl {__version__}\n".encode()


def test_the_installed_command_is_the_same(bare):
    installed = Path(sys.executable).with_name("xcomctl")
    done = subprocess.run([installed, "--version"], capture_output=True, text=True, env=bare, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"xcomctl {__version__}\n", "")
    done = subprocess.run([installed, "ls", "--nope"], capture_output=True, text=True, env=bare, check=False)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith("xcomctl: ")


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        (["--help"], {}),
        (["--version"], {}),
        (["ls", "--help"], {}),
        (["get", "--help"], {}),
        (["gc", "--help"], {}),
        (["demo", "--help"], {}),
        (["completions", "bash"], {}),
        (["ls", "--sort", "nonsense"], {}),
    ],
    ids=["help", "version", "ls", "get", "gc", "demo", "completions", "mistake"],
)
def test_what_reads_nothing_loads_nothing(bare, words, environment):
    script = (
        "import atexit, json, sys; from xcomctl.cli import main;"
        "atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr));"
        f"main({words!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={**bare, **environment}, check=True
    )
    loaded = json.loads(done.stderr.splitlines()[-1])
    assert "typer" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_one_run_does_not_change_the_next(cli: Run):
    """`main` may be called from a program: the display of a run ends with it."""
    assert "Traceback" in cli("ls", "--since", "never", "--debug", "--log-format", "json").err
    cli("ls", "--nope").failed(2, "no such option")
