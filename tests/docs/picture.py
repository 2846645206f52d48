"""The picture of the demo: what a terminal showed, as an SVG that needs no font from elsewhere, and its text again."""

from __future__ import annotations

import io
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from xml.etree import ElementTree

from tests.docs.shown import COLUMNS

_SIGN_WIDTH = 12.2
"""What rich gives each sign of a terminal."""


def picture(scenes: Iterable[tuple[str, str, str]], alike: Callable[[str], str]) -> str:
    """An SVG of these scenes, each a remark, a command and what it showed."""
    from rich._export_format import CONSOLE_SVG_FORMAT
    from rich.console import Console
    from rich.text import Text

    screen = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for caption, command, shown in scenes:
        screen.print(Text(f"# {caption}", style="bright_black"))
        screen.print(
            Text("$ ", style="green") + Text(" \\\n    ".join(_wrapped(command)), style="bold"), soft_wrap=True
        )
        for line in Text.from_ansi(alike(_without_margins(shown))).split("\n", allow_blank=True):
            for part in line.divide(range(COLUMNS, len(line), COLUMNS)):  # where a terminal breaks it
                screen.print(part, soft_wrap=True)
        screen.print()
    fonts = re.compile(r"@font-face \{\{.*?\}\}\s*", re.DOTALL)
    form = fonts.sub("", CONSOLE_SVG_FORMAT).replace("Fira Code,", "ui-monospace, Menlo, Consolas, DejaVu Sans Mono,")
    return _tight(screen.export_svg(title="xcomctl", code_format=form, unique_id="demo"))


def text_of(svg: str) -> str:
    """The lines of a picture, each sign where it stands."""
    lines: dict[float, list[tuple[float, str]]] = defaultdict(list)
    for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"):
        if "clip-path" in element.attrib:
            lines[float(element.attrib["y"])].append((float(element.attrib["x"]), element.text or ""))
    return "\n".join(_line(pieces) for _, pieces in sorted(lines.items()))


def _line(pieces: list[tuple[float, str]]) -> str:
    line = ""
    for x, piece in sorted(pieces):
        line = line.ljust(round(x / _SIGN_WIDTH)) + piece.replace("\xa0", " ")
    return line.rstrip()


def _wrapped(command: str) -> list[str]:
    """A long command in lines that fit, broken where words end."""
    lines = [""]
    for word in command.split(" "):
        if len(lines[-1]) + len(word) > COLUMNS - 6:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines


def _without_margins(shown: str) -> str:
    """As it stands when all is said: without what was written over, and without the empty lines around tables."""
    lines = [re.sub(r"^.*\r\x1b\[K", "", line).rstrip() for line in shown.split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines).strip("\n"))


def _tight(svg: str) -> str:
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"
