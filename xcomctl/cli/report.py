"""The only room that writes stderr: notes, progress, questions, errors. On success, `-q` silences it."""

from __future__ import annotations

import json
import os
import select
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TextIO

from xcomctl.cli.options import Color, Display, LogFormat
from xcomctl.errors import XcomctlError
from xcomctl.masking import Mask, without_passwords
from xcomctl.model import XCom

TICK_SECONDS = 0.2


@dataclass(frozen=True)
class Report:
    """What may be said to the person or the log behind stderr."""

    display: Display = field(default_factory=Display)

    def note(self, text: str, **facts: object) -> None:
        """Something worth knowing."""
        if not self.display.quiet:
            self._say("info", text, facts)

    def detail(self, text: str, **facts: object) -> None:
        """Something only `-v` wants to know."""
        if self.display.verbose:
            self._say("debug", text, facts)

    def warning(self, text: str, **facts: object) -> None:
        """Something that needs a look though the command goes on. Not silenced: it is not plain success."""
        self._say("warning", text, facts)

    def error(self, error: Exception) -> None:
        """One line of what and why, one of what to do; with `--debug` the traceback as well."""
        trace = _public("".join(traceback.format_exception(error))) if self.display.debug else ""
        if trace and self.display.log_format is LogFormat.TEXT:
            _write(trace)
        known = isinstance(error, XcomctlError)
        text = error.message if isinstance(error, XcomctlError) else f"{type(error).__name__}: {error}"
        hint = error.hint if isinstance(error, XcomctlError) else None
        if not known and not self.display.debug:
            hint = "this is a fault of xcomctl; --debug shows where"
        facts = {"hint": hint, "traceback": trace if self.display.log_format is LogFormat.JSON else ""}
        self._say("error", " ".join(text.split("\n")), {name: fact for name, fact in facts.items() if fact})

    def unreadable(self, xcom: XCom, error: XcomctlError) -> None:
        """A foreign reference could not be looked up."""
        self.warning(f"cannot look up {xcom.reference}: {error.message}")

    def confirm(self, question: str) -> bool:
        """Ask on stderr; only `y` and `yes` are a yes."""
        clear_line()
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        # A signal that comes just before a read begins would be heard only when that ends.
        while sys.stdin.isatty() and not select.select([sys.stdin], [], [], 1)[0]:
            pass
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    @contextmanager
    def progress(self) -> Iterator[Callable[[str, int], None]]:
        """A line that counts, on a terminal; silence elsewhere."""
        unwanted = self.display.quiet or self.display.verbose or self.display.log_format is LogFormat.JSON
        if unwanted or not sys.stderr.isatty() or _is_dumb():
            yield lambda step, done: None
            return
        line = _Line()
        try:
            yield line.show
        finally:
            clear_line()

    def _say(self, level: str, text: str, facts: dict[str, object]) -> None:
        facts = {name: _masked(fact) if isinstance(fact, str) else fact for name, fact in facts.items()}
        text = _public(text)
        if self.display.log_format is LogFormat.JSON:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            _write(json.dumps({"time": stamp, "level": level, "event": text, **facts}, default=str) + "\n")
            return
        from xcomctl.backend.payload import visible

        prefix = {"error": "xcomctl: ", "warning": "warning: "}.get(level, "")
        _write(self._colored(level, prefix) + visible(text) + "\n")
        if facts.get("hint"):
            _write(self._colored("hint", "hint: ") + visible(str(facts["hint"])) + "\n")

    def _colored(self, level: str, text: str) -> str:
        code = {"error": "31", "warning": "33", "hint": "36"}.get(level)
        return f"\x1b[{code}m{text}\x1b[0m" if code and text and is_colored(sys.stderr, self.display.color) else text


_started = [Report()]
_masked = Mask()


def _public(text: str) -> str:
    """The text without what was hidden, and without the key and secret that a URL in a row may have."""
    return without_passwords(_masked(text))


def _write(text: str) -> None:
    """A log that is full or gone stops nothing; the exit code still tells."""
    with suppress(OSError):
        clear_line()
        sys.stderr.write(text)


def is_colored(stream: TextIO, color: Color) -> bool:
    """Whether a stream gets colours: as `--color` says, else NO_COLOR, else FORCE_COLOR, else if it is a terminal.

    Both variables count by their standards: with any value that is not empty.
    """
    if color is not Color.AUTO:
        return color is Color.ALWAYS
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (stream.isatty() and not _is_dumb())


def _is_dumb() -> bool:
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")


def drop_unwritable(*streams: TextIO) -> None:
    """What is still in a buffer and has no reader, or no room: the interpreter would fail over it on its way out."""
    for stream in streams:
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def hide(secrets: Iterable[str]) -> None:
    """Never show these again, not even as part of what a library says: gcsfs puts a token into its errors."""
    _masked.hide(*secrets)


def start(display: Display) -> Report:
    """The report of the command that runs, as its options want it; `main` finds it there when the command fails."""
    _started[0] = Report(display)
    _masked.forget()
    return _started[0]


def current() -> Report:
    """The report of the command that runs, or a plain one before its options are read."""
    return _started[0]


class _Line:
    """One line of a terminal, written over and over, at most five times a second; what is quick shows none."""

    is_shown = False

    def __init__(self) -> None:
        self._shown_at = time.monotonic()

    def show(self, step: str, done: int) -> None:
        now = time.monotonic()
        if now - self._shown_at >= TICK_SECONDS:
            sys.stderr.write(f"\r\x1b[K{done:,} {step}")
            sys.stderr.flush()
            self._shown_at = now
            _Line.is_shown = True


def clear_line() -> None:
    """Take the line of progress away: what is written next, to either stream, begins a line of its own."""
    if _Line.is_shown:
        _Line.is_shown = False
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
