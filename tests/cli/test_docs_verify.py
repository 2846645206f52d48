"""What the page about verify-backend names is what there is: every check and status; and its snippets hold together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tests.cli.test_docs import below, words_of
from xcomctl.cli.app import command_line
from xcomctl.operations.verify import Status, probes

PAGE = (Path(__file__).parents[2] / "docs/verify-backend.md").read_text("utf-8")
SNIPPETS = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
COMPONENTS = {"workers", "triggerer", "dagProcessor", "scheduler", "webserver", "apiServer"}
"""What the official chart (1.21) gives an extraInitContainers."""


def commands_in(value: Any) -> list[list[str]]:
    """Every list of words in a snippet that begins with xcomctl."""
    if isinstance(value, list) and "xcomctl" in value[:2]:
        return [value[value.index("xcomctl") :]]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [command for each in inner for command in commands_in(each)]


COMMANDS = sorted({tuple(command) for snippet in SNIPPETS for command in commands_in(snippet)})


def test_every_check_is_explained():
    assert words_of(below(PAGE, "| check | fails or warns when |")) == {p.id for p in probes(read_only=False)}


def test_every_status_is_explained():
    assert words_of(below(PAGE, "| status | is |")) == {status.value for status in Status}


def test_every_flag_that_is_named_is_there():
    command = command_line().commands["verify-backend"]
    there = {name for parameter in command.params for name in parameter.opts}
    shown = {word for _, *words in COMMANDS for word in words if word.startswith("-")}
    assert shown | set(re.findall(r"`(--[a-z-]+)", PAGE)) <= there and len(COMMANDS) == 3


def test_the_probes_leave_their_command_the_time_it_may_take():
    compose, pod, chart = SNIPPETS
    (service,) = compose["services"].values()
    assert service["healthcheck"]["test"][0] == "CMD" and service["healthcheck"]["timeout"] == "60s"
    (worker,) = pod["spec"]["containers"]
    for kind in ("startupProbe", "readinessProbe"):
        assert set(worker[kind]) == {"exec", "timeoutSeconds", "periodSeconds", "failureThreshold"}
        assert worker[kind]["timeoutSeconds"] >= 60
    assert set(chart) <= COMPONENTS
    inits = [each for part in chart.values() for each in part["extraInitContainers"]]
    for each in (*pod["spec"]["initContainers"], *inits):
        assert {"name", "image", "command", "envFrom"} <= set(each)
