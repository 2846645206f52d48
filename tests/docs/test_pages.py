"""The pages hold together: links lead somewhere, commands are commands, and what is named is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import REFERENCE, ROOT, Page, pages
from xcomctl import settings
from xcomctl.cli.app import command_line
from xcomctl.errors import ExitCode

PAGES = pages()
BY_NAME = {page.name: page for page in PAGES}
NAMES = pytest.mark.parametrize("page", PAGES, ids=list(BY_NAME))
README = BY_NAME["README.md"]
HOUSE = BY_NAME["ARCHITECTURE.md"]
COMMANDS: dict[str, Any] = command_line().commands


def flags(command: str) -> set[str]:
    """Every flag of a command."""
    return {name for parameter in COMMANDS[command].params for name in parameter.opts} | {"--help", "-h"}


@NAMES
def test_every_link_leads_somewhere(page: Page):
    for link in page.links():
        target, _, anchor = link.partition("#")
        if ":" in target:
            continue
        path = (page.path.parent / target).resolve() if target else page.path
        assert path.exists(), link
        assert not anchor or anchor in Page(path).anchors(), link


@NAMES
def test_every_command_line_is_one(page: Page):
    """It is parsed by the real command, with its real options, but not run."""
    for name, *words in page.commands():
        COMMANDS[name].make_context(name, list(words))


@NAMES
def test_every_command_in_the_text_has_the_flags_that_are_said_of_it(page: Page):
    for name, *words in page.spans():
        said = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert name in COMMANDS and said <= flags(name), (name, words)


def test_enough_is_looked_at():
    assert len(README.commands()) > 8 and len(README.links()) > 20
    assert ("gc", "--dry-run") in README.commands() and ("restore", "OPERATION_ID") in README.spans()
    assert ("verify-backend", "-q", "--wait", "120s") in BY_NAME["docs/verify-backend.md"].commands()


def test_every_page_can_be_reached_from_the_readme():
    reached, waiting = set(), [README]
    while waiting:
        page = waiting.pop()
        reached.add(page.name)
        targets = [(page.path.parent / link.partition("#")[0]).resolve() for link in page.links() if ":" not in link]
        found = {str(each.relative_to(ROOT)) for each in targets if each.suffix == ".md" and each.exists()}
        waiting += [BY_NAME[name] for name in found & BY_NAME.keys() - reached]
    assert set(BY_NAME) - reached == set()


def test_the_make_targets_that_are_named_exist():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    named = {target for page in PAGES for target in re.findall(r"`make ([a-z]+)", page.text)}
    assert named and {target for target in named if f"\n{target}:" not in makefile} == set()
    targets = set(re.findall(r"^([a-z]+):.*## ", makefile, re.MULTILINE)) - {"help"}
    assert set(re.findall(r"`make ([a-z]+)", BY_NAME["CONTRIBUTING.md"].text)) == targets


def test_every_command_has_its_help_in_the_reference():
    cog = Path(sys.executable).with_name("cog")
    if cog.exists():  # where there are linters; `make lint` always runs this
        subprocess.run([str(cog), "--check", str(ROOT / REFERENCE)], check=True, env=dict(os.environ))
    for command in COMMANDS:
        assert f"## xcomctl {command}\n" in BY_NAME[REFERENCE].text


def test_the_readme_has_every_exit_code():
    table = README.text.partition("| exit code | meaning |")[2].partition("\n\n")[0]
    codes = re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE)
    assert {int(code) for cell in codes for code in cell.split(",")} == {code.value for code in ExitCode}


def test_the_readme_says_where_settings_come_from():
    table = README.text.partition("| what | flag | environment | else |")[2].partition("\n\n")[0]
    words = set(re.findall(r"`([^`]+)`", table))
    place = {parameter.opts[0]: parameter.envvar for parameter in COMMANDS["ls"].params if parameter.opts[0] in words}
    asked = {settings.DATABASE_ENV, settings.SCHEMA_ENV, settings.BASE_PATH_ENV}
    assert words - {"conn@"} == place.keys() | set(place.values()) | asked and len(place) == 4


def test_what_the_house_is_said_to_hold_is_there():
    places = set(re.findall(r"`((?:xcomctl|tests)/[\w./-]*)`", HOUSE.text))
    assert len(places) > 25 and {place for place in places if not (ROOT / place).exists()} == set()
    rooms = {each.name for each in (ROOT / "xcomctl").iterdir() if each.is_dir() and (each / "__init__.py").exists()}
    assert {room for room in rooms if f"`xcomctl/{room}/`" not in HOUSE.text} == set()


def test_what_the_walk_names_is_defined_where_it_says():
    walk = re.sub(r"\s+", " ", HOUSE.text.partition("## One command")[2].partition("## What holds")[0])
    named = re.findall(r"`(\w+)`(?: and `(\w+)`)?,? (?:in|\() ?`(xcomctl/[\w/]+\.py)`", walk)
    assert len(named) >= 15
    for *names, file in named:
        source = (ROOT / file).read_text("utf-8")
        for name in filter(None, names):
            assert re.search(rf"^(?:    )?(?:def|class) {name}\b|^{name}\b.*=", source, re.MULTILINE), (name, file)
    methods = re.findall(r"`(Store|Catalog)\.(\w+)`", walk)
    for room, name in methods:
        file = {"Store": "backend/storage/__init__.py", "Catalog": "catalog/catalog.py"}[room]
        assert f"    def {name}(" in (ROOT / "xcomctl" / file).read_text("utf-8"), (room, name)
    assert len(methods) >= 4
