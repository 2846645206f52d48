"""How every command explains itself: its docstring is the source, and this the only place that lays it out.

A command's docstring begins with one sentence, which the list of commands shows as well. Paragraphs describe it. Two
sections are set apart by their headings, and may stand anywhere below the first sentence:

    Examples:

      xcomctl ls --since 7d
        What was pushed in the last week.

    Exit status:

      0 2 10 12
      1  The upgrade would fail.

An example is a command line, and below it, further in, one line of what it does. An exit code is explained by what
`ExitCode` says of it, unless it has words of its own here. The codes of signals need not be named.

The help shows the sentence, the examples, the description, the exit codes and then the options, always in this order.
It is plain text, whatever stands in it: no `[` is markup. rich is not loaded for it.
"""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import typer

from xcomctl.cli import report
from xcomctl.cli.options import Color
from xcomctl.errors import SIGNALS, ExitCode

NARROWEST, WIDEST = 40, 110
TERM_WIDTH = 26
"""Where the second column begins at the latest; a longer term has a line of its own."""

_WORD = re.compile(r"""(?:'[^']*'|"[^"]*"|\S)+""")


@dataclass(frozen=True, slots=True)
class Manual:
    """What a docstring says."""

    summary: str
    examples: Sequence[tuple[str, str]]
    description: Sequence[str]
    exits: Mapping[ExitCode, str]


def manual_of(docstring: str) -> Manual:
    """The parts of a docstring, wherever they stand in it."""
    summary, *blocks = re.split(r"\n\s*\n", docstring.strip())
    description: list[str] = []
    sections: dict[str, list[str]] = {"Examples:": [], "Exit status:": []}
    section = ""
    for block in blocks:
        if block.strip() in sections:
            section = block.strip()
        elif section and block.startswith(" "):
            sections[section] += block.splitlines()
        else:
            section = ""
            description.append(_joined(block))
    return Manual(
        _joined(summary), list(_examples(sections["Examples:"])), description, _exits(sections["Exit status:"])
    )


def _joined(block: str) -> str:
    return " ".join(block.split())


def _examples(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each command line with the lines below it that stand further in."""
    margin = min((_margin(line) for line in lines), default=0)
    for number, line in enumerate(lines):
        if _margin(line) == margin:
            below = []
            for each in lines[number + 1 :]:
                if _margin(each) == margin:
                    break
                below.append(each.strip())
            yield line.strip(), " ".join(below)


def _margin(line: str) -> int:
    return len(line) - len(line.lstrip())


def _exits(lines: Sequence[str]) -> dict[ExitCode, str]:
    """`0 2 10` are codes as everywhere, `1  The upgrade would fail.` is one with words of its own."""
    found: dict[ExitCode, str] = {}
    for line in lines:
        codes, words = re.fullmatch(r"\s*((?:\d+\s*)+)(.*)", line).groups()  # type: ignore[union-attr]
        for code in map(ExitCode, map(int, codes.split())):
            found[code] = words or code.meaning
    return dict(sorted(found.items()))


class Command(typer.core.TyperCommand):
    """A command whose help leads with examples."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help into what Typer prints."""
        formatter.write(help_of(self, ctx))


def help_of(command: Any, context: Any) -> str:
    """The whole help of one command."""
    manual, page = manual_of(command.help or ""), Page()
    page.line(f"Usage: {usage_of(command, context)}")
    page.paragraph(manual.summary)
    if manual.examples:
        page.heading("Examples")
        for line, what in manual.examples:
            page.example(line, what)
    for paragraph in manual.description:
        page.paragraph(paragraph)
    if manual.exits:
        page.heading("Exit status")
        page.terms((str(int(code)), words) for code, words in manual.exits.items())
        page.terms([(", ".join(str(int(code)) for code in SIGNALS), "Ended by Ctrl-C, a closed pipe or SIGTERM.")])
    options(page, command, context)
    return page.text


def usage_of(command: Any, context: Any) -> str:
    """The command line in one line."""
    arguments = [each for each in command.get_params(context) if each.param_type_name == "argument"]
    return " ".join([context.command_path, "[OPTIONS]", *map(_placeholder, arguments)])


def _placeholder(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    name += "..." if argument.nargs == -1 and not name.endswith("...") else ""
    return name if argument.required else f"[{name}]"


def options(page: Page, command: Any, context: Any) -> None:
    """Every argument and option, under the heading of its panel."""
    panels: dict[str, list[Any]] = {}
    asking: list[Any] = []
    for each in command.get_params(context):
        is_argument = each.param_type_name == "argument"
        panel = getattr(each, "rich_help_panel", None) or ("Arguments" if is_argument else "Options")
        (asking if "--help" in each.opts else panels.setdefault(panel, [])).append(each)
    first = [name for name in ("Arguments", "Options") if name in panels]
    for name in [*first, *(name for name in panels if name not in first)]:
        page.heading(name)
        page.terms((_term(each), _explained(each)) for each in panels[name])
    page.heading("Help") if panels else page.heading("Options")
    page.terms((", ".join(sorted(each.opts, key=len)), "Show this help.") for each in asking)


def _term(parameter: Any) -> str:
    """An option with the placeholder of its value, or an argument."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    names = ", ".join(sorted(parameter.opts, key=len))
    if parameter.is_flag:
        return names
    return f"{names} {parameter.metavar or ('WHICH' if choices_of(parameter) else 'N')}"


def _explained(parameter: Any) -> str:
    """What a parameter does, what it takes, what it is by default, and the variable that it listens to."""
    choices = choices_of(parameter)
    default = _text(parameter.default)
    said = [
        str(parameter.help or ""),
        f"One of {', '.join(choices)}." if choices else "",
        f"[default: {default}]" if default else "",
        f"[{parameter.envvar}]" if parameter.envvar else "",
    ]
    return " ".join(part for part in said if part)


def _text(default: object) -> str:
    """A default that is worth saying. Typer has marks of its own for none."""
    if isinstance(default, Enum):
        return str(default.value) if isinstance(default, str) else ""
    return str(default) if isinstance(default, (str, int, Path)) and not isinstance(default, bool) else ""


def choices_of(parameter: Any) -> list[str]:
    """The values that a parameter takes, where they are few. Typer has kept them in two places."""
    for holder in ("type", "type_descriptor"):
        choices = getattr(getattr(parameter, holder, None), "choices", None)
        if choices:
            return [str(each.value if isinstance(each, Enum) else each) for each in choices]
    return []


class Page:
    """Text for people, as wide as their terminal."""

    def __init__(self) -> None:
        self.width = min(max(shutil.get_terminal_size().columns, NARROWEST), WIDEST)
        self._lines: list[str] = []

    @property
    def text(self) -> str:
        """All that was written."""
        return "\n".join(self._lines) + "\n"

    def line(self, text: str) -> None:
        """Some text as it is."""
        self._lines.append(text)

    def heading(self, title: str) -> None:
        """The title of what follows."""
        bold = report.is_colored(sys.stdout, Color.AUTO)
        self._lines += ["", f"\x1b[1m{title}:\x1b[0m" if bold else f"{title}:"]

    def paragraph(self, text: str) -> None:
        """Running text."""
        self._lines += ["", *self._wrapped(text)]

    def example(self, line: str, what: str) -> None:
        """A command line that can be copied also where it takes more than one line, and what it does."""
        self._lines += ["  " + each for each in _broken(line, self.width - 2)]
        self._lines += self._wrapped(what, "      ") if what else []

    def terms(self, terms: Iterable[tuple[str, str]]) -> None:
        """Two columns; one below the other where the first is wide or the page is narrow."""
        listed = list(terms)
        limit = min(TERM_WIDTH, self.width // 3)
        column = 2 + max((len(term) for term, _ in listed if len(term) <= limit), default=4) + 2
        for term, words in listed:
            lines = self._wrapped(words, " " * column) or [""]
            if len(term) + 4 <= column:
                self._lines.append(f"  {term}".ljust(column) + lines.pop(0).lstrip())
            else:
                self._lines.append(f"  {term}")
            self._lines += lines

    def _wrapped(self, text: str, indent: str = "") -> list[str]:
        return textwrap.wrap(
            text,
            self.width,
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )


def _broken(line: str, width: int) -> list[str]:
    """A command line in lines, each but the last with the backslash that makes a shell go on."""
    lines = [""]
    for word in _WORD.findall(line):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if len(longer) + 2 > width and len(line) > width and lines[-1].strip():
            lines[-1] += " \\"
            lines.append(f"  {word}")
        else:
            lines[-1] = longer
    return lines
