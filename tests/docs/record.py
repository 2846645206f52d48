"""Writes anew what the pages show of real output: console blocks of README and runbooks, and the demo's picture.

`make docs` runs it. The sandbox has one name everywhere, since the sizes of references depend on it.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from tests.docs.pages import ROOT, Page, pages
from tests.docs.picture import picture
from tests.docs.shown import COLUMNS, environment_on_terminal, tidy, timeless
from tests.docs.stage import run
from tests.lab.sandbox import Built
from tests.lab.terminal import on_terminal
from xcomctl.demo.tour import tour

FOLDER = Path("/tmp/xcomctl-demo")
PICTURE = ROOT / "docs/demo.svg"

_CONSOLE = re.compile(r"<!--.*?-->|```console\n(.*?)```", re.DOTALL)
_SHOWN = re.compile(r"^\$ (xcomctl .*)\n((?:(?!\$ |# |```).*\n)*)", re.MULTILINE)


def recorded(page: Page) -> bool:
    """Whether the outputs on this page are written by this program."""
    return page.name == "README.md" or page.name.startswith("docs/runbooks/")


def filmed(built: Built) -> list[tuple[str, str, str]]:
    """The demo's commands on a real terminal: why, what is typed, what is shown, colours and all."""
    environment = environment_on_terminal(built.sandbox)
    scenes = []
    for stop in tour(built.sandbox):
        _, shown = on_terminal([sys.executable, "-m", *shlex.split(stop.command)], environment, columns=COLUMNS)
        scenes.append((stop.caption, stop.command, shown.decode()))
    return scenes


def write(page: Page, built: Built, alike: Callable[[str], str]) -> None:
    """Run a page's console commands, one after the other, and show below each what it said."""

    def again(found: re.Match[str]) -> str:
        code, output = run(built.sandbox, shlex.split(found[1])[1:], built.sandbox.folder)
        if code:
            sys.exit(f"{page.name}: {found[1]} ended with {code}:\n{output}")
        shown = tidy(alike(output))
        return f"$ {found[1]}\n{shown}\n\n" if shown else f"$ {found[1]}\n"

    def block(found: re.Match[str]) -> str:
        return f"```console\n{_SHOWN.sub(again, found[1]).rstrip()}\n```" if found[1] else found[0]

    text = page.path.read_text("utf-8")
    page.path.write_text(_CONSOLE.sub(block, text), "utf-8")


def main() -> None:
    """Record everything, in a sandbox that is gone afterwards."""
    if FOLDER.exists():
        sys.exit(f"{FOLDER} is there already: move it away, for what is recorded needs that name")
    built = Built.at(FOLDER)
    try:
        PICTURE.write_text(picture(filmed(built), timeless()), "utf-8")
        for page in filter(recorded, pages()):
            built.anew()
            write(page, built, timeless())
    finally:
        built.remove()


if __name__ == "__main__":
    main()
