"""What the page about migrate names is what there is: every gate, reason, failure and rule, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from tests.cli.test_docs import below, words_of
from xcomctl.backend.rules import rules
from xcomctl.operations.migrate import Failure, Gate, Skip

PAGE = (Path(__file__).parents[2] / "docs/migrate.md").read_text("utf-8")


def test_every_gate_is_explained():
    assert words_of(below(PAGE, "| gate | shut when |")) == {gate.value for gate in Gate}


def test_every_reason_is_explained():
    assert words_of(below(PAGE, "| reason | why |")) == {reason.value for reason in Skip}


def test_every_failure_is_explained():
    of_the_run = {"not_read_back", "broke_off"}
    assert words_of(below(PAGE, "| code | what happened |")) - of_the_run == {code.value for code in Failure}


def test_every_built_in_rule_is_shown():
    shown = [
        tuple(re.findall(r"`([^`]+)`", line))
        for line in below(PAGE, "| rule | references | objects |").splitlines()
        if line.startswith("| `")
    ]
    assert shown == [(name, r.reference, f"{r.root}/{r.object}") for name, r in rules(None).items()]


def test_the_example_is_a_rule(tmp_path: Path):
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "rules.toml"
    path.write_text(example)
    names = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": "-1", "key": "k"}
    name = "d/k/0d760203-28d1-4226-81c7-7786b50e4773.json"
    assert rules(path)["ours"].object_of(f"blob://{name}", names) == name
