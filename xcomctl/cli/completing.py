"""What `xcomctl` answers a shell that asks for completions: to the scripts in `cli/completions.py`, and to nobody else.

The first line says what the shell is to do (`files`, `nospace`), each other one is a word with a tab and what it means.
bash breaks words at `:` and `=` as well, and takes what it is given for text to insert: so it gets the rest of the word
from its last break on, quoted as the word has been begun.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from xcomctl.cli import render, suggest

VARIABLE = "_XCOMCTL_COMPLETE"

SORT = "--sort"

_SPECIAL = frozenset(" \t\\'\"$`&|;<>(){}[]*?!#~^")
_IN_DOUBLE_QUOTES = frozenset('\\"$`')
_BLANKS = " \t\n"


def answer(shell: str, words: Sequence[str]) -> NoReturn:
    """Write what there is to offer, and end at once, whatever still waits for a database."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with suppress(BaseException):
        offered = list(_bash(*words) if shell == "bash" else _others(shell, words))
        render.write("\n".join([" ".join(sorted(suggest.wanted)), *offered]) + "\n")
    os._exit(0)


def _others(shell: str, words: Sequence[str]) -> Iterator[str]:
    """zsh and fish are given whole words, and quote them as is needed. fish hands over the last one as it was typed."""
    *before, last = words or [""]
    if shell == "fish":
        last = Typed.read(last).words[-1]
    for value, meaning in candidates(before, last):
        yield f"{value}\t{meaning}"


def _bash(line: str, breaks: str) -> Iterator[str]:
    typed = Typed.read(line)
    head = typed.head(breaks)
    for value, _ in candidates(typed.words[1:-1], typed.words[-1]):
        if value.startswith(head):
            yield typed.quoted(value[len(head) :])


def candidates(before: Sequence[str], incomplete: str) -> Iterator[tuple[str, str]]:
    """Every word that may stand in the place of one that is begun, and what it means.

    What Typer offers is all that is wanted of it: what its own scripts make of names with spaces, quotes and colons is
    not what has to be typed.
    """
    from typer._completion_classes import BashComplete

    from xcomctl.cli.app import command_line
    from xcomctl.cli.manual import manual_of

    tree: Any = command_line()
    name, equals, value = incomplete.partition("=") if incomplete.startswith("--") else ("", "", incomplete)
    words = [*before, name] if equals else list(before)
    sign = "-" if words[-1:] == [SORT] and value.startswith("-") else ""  # which Typer would take for a flag
    begun = value.removeprefix(sign) if sign or equals else incomplete
    for item in BashComplete(tree, {}, "xcomctl", VARIABLE).get_completions(words, begun):
        value, meaning = f"{name if equals else ''}{equals}{sign}{item.value}", " ".join((item.help or "").split())
        if not before and value in tree.commands:
            meaning = manual_of(tree.commands[value].help or "").summary
        if value.isprintable():  # a line is a word, and a tab ends it
            yield value, meaning


@dataclass(frozen=True, slots=True)
class Typed:
    """A line up to the cursor: its words without their quotes, where the last one begins, and its quote if one is open.

    `plain` are the places in the last word where nothing quotes.
    """

    line: str
    words: Sequence[str]
    begins: int
    quote: str
    quote_at: int
    plain: Sequence[int]

    @classmethod
    def read(cls, line: str) -> Typed:
        """Read it as a shell does, and take what is not closed for what is still to come.

        >>> Typed.read("xcomctl ls --dag-id 'a b").words
        ['xcomctl', 'ls', '--dag-id', 'a b']
        """
        words, quote, quote_at, begins, escaped = [""], "", 0, 0, False
        plain: list[int] = []
        for at, letter in enumerate(line):
            if escaped:
                words[-1] += letter if quote != '"' or letter in _IN_DOUBLE_QUOTES else f"\\{letter}"
                escaped = False
            elif letter == "\\" and quote != "'":
                escaped = True
            elif quote and letter == quote:
                quote = ""
            elif quote:
                words[-1] += letter
            elif letter in "'\"":
                quote, quote_at = letter, at + 1
            elif letter in _BLANKS:
                if at > begins:
                    words.append("")
                begins, plain = at + 1, []
            else:
                words[-1] += letter
                plain.append(at)
        return cls(line, words, begins, quote, quote_at, plain)

    def head(self, breaks: str) -> str:
        """What of the last word stands before the part that bash replaces."""
        if self.quote:
            return self.read(self.line[self.begins : self.quote_at - 1]).words[-1]
        start = max((at + 1 for at in self.plain if self.line[at] in breaks), default=self.begins)
        return self.read(self.line[self.begins : start]).words[-1]

    def quoted(self, text: str) -> str:
        """Text as it must be typed to go on in the same way."""
        if self.quote == "'":
            return text.replace("'", "'\\''")
        special = _IN_DOUBLE_QUOTES if self.quote else _SPECIAL
        escaped = "".join(f"\\{letter}" if letter in special else letter for letter in text)
        return escaped.replace("!", '"\\!"') if self.quote else escaped  # no other way to keep bash's history out
