"""What the README, the runbooks and the picture show of real output is what the commands say today."""

from __future__ import annotations

import shlex
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.docs.pages import Page, examples, pages
from tests.docs.picture import picture, text_of
from tests.docs.record import FOLDER, PICTURE, filmed, recorded
from tests.docs.shown import COLUMNS, shape, timeless
from tests.docs.stage import run
from tests.lab.sandbox import Built
from xcomctl.demo.tour import tour

pytestmark = [pytest.mark.xdist_group("demo"), pytest.mark.one_airflow]

STALE = "the page is stale: `make docs` records it anew"
PAGES = [page for page in pages() if recorded(page) and examples(page)]


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_a_page_shows_what_its_commands_say(fresh: Built, page: Page, tmp_path: Path):
    """One after the other: a page tells a story."""
    for example in examples(page):
        code, output = run(fresh.sandbox, shlex.split(example.command)[1:], tmp_path)
        assert code == 0, output
        there = output.replace(str(fresh.sandbox.folder), str(FOLDER))
        assert shape(example.shown) == shape(there), f"{example.command}: {STALE}"


def test_the_picture_shows_what_the_demo_shows_on_a_terminal(fresh: Built):
    shown = shape(text_of(PICTURE.read_text("utf-8")))
    assert shown == shape(text_of(picture(filmed(fresh), timeless()))), STALE
    said = [line for stop in tour(fresh.sandbox, columns=COLUMNS) for line in shape(stop.output)]
    assert len(said) > 30 and {line for line in said if line not in shown} == set(), STALE


def test_the_picture_needs_nothing_from_elsewhere():
    svg = PICTURE.read_text("utf-8")
    addresses = [word for word in svg.replace('"', " ").split() if "://" in word]
    assert set(addresses) <= {"http://www.w3.org/2000/svg", "https://www.textualize.io"}
    assert "@font-face" not in svg and "monospace" in svg and len(svg) < 100_000
    colours = {each.get("class") for each in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")}
    assert len(colours) > 3


def test_the_same_output_is_recorded_alike_at_another_time():
    line = "20261120T031502Z-deadbeef at 2026-11-20T05:01:40.164906+00:00 for manual__2026-01-06T00:00:00+00:00"
    recorded_line = timeless()(line)
    assert "deadbeef" not in recorded_line and "5f2c9a1e" in recorded_line
    assert recorded_line.endswith("manual__2026-01-06T00:00:00+00:00")
