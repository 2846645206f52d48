"""Every command line of every page runs, each on a sandbox as it was built, and ends as it should."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.docs.pages import examples, pages
from tests.docs.record import recorded
from tests.docs.stage import run
from tests.lab.sandbox import Built
from xcomctl.errors import ExitCode

pytestmark = [pytest.mark.xdist_group("demo"), pytest.mark.one_airflow]

RECORDED = {tuple(shlex.split(each.command)[1:]) for page in pages() if recorded(page) for each in examples(page)}
"""What test_shown runs."""
LINES = sorted({words for page in pages() for words in page.commands()} - RECORDED)


@pytest.mark.parametrize("words", LINES, ids=[shlex.join(words) for words in LINES])
def test_a_command_of_the_pages_runs(fresh: Built, words: tuple[str, ...], tmp_path: Path):
    code, output = run(fresh.sandbox, words, tmp_path)
    assert code == ExitCode.OK, output
    assert "Traceback" not in output
