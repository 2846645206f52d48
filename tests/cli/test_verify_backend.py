"""What the command line of verify-backend refuses: 2, before anything is looked at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.mark.parametrize(
    ("words", "says", "hint"),
    [
        (("--compare",), "needs two fingerprints", "--compare scheduler.json worker.json"),
        (("--compare", "a.json"), "needs two fingerprints", "--compare scheduler.json worker.json"),
        (("a.json",), "nothing to do with a.json", "--compare"),
        (("--compare", "--fingerprint", "a.json", "b.json"), "two things to do", "one of them"),
        (("--fingerprint", "--wait", "5s"), "--wait goes with the checks", "leave it out"),
        (("--wait", "soon"), "--wait 'soon' is not an age", "write 7d"),
        (("--rule", "nope"), "there is no rule 'nope'", "gcs-variable"),
        (("--rule", "s3=bucket"), "'bucket' is no URL", "s3://connection@bucket"),
        (("--rule", "s3", "--rules", "/nowhere.toml"), "cannot read the rules in /nowhere.toml", "--rules"),
        (("--compare", "/nowhere.json", "b.json"), "cannot read /nowhere.json", "--compare"),
    ],
)
def test_what_makes_no_sense(cli: Run, words: tuple[str, ...], says: str, hint: str):
    cli("verify-backend", *words).failed(2, says, hint)


def test_what_is_no_fingerprint(cli: Run, tmp_path: Path):
    for name, text in (("text", "no JSON"), ("other", json.dumps([{"id": "airflow"}]))):
        (tmp_path / name).write_text(text)
    text, other = str(tmp_path / "text"), str(tmp_path / "other")
    cli("verify-backend", "--compare", text, other).failed(2, f"{text} is no JSON", "--fingerprint")
    cli("verify-backend", "--compare", other, other).failed(2, f"{other} holds no fingerprint", "--fingerprint")
