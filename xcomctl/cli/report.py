"""The only room that writes stderr: notes, progress, questions, errors. On success, `-q` silences it."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TextIO

from xcomctl.cli.options import Color, Display, LogFormat
from xcomctl.errors import XcomctlError
from xcomctl.masking import Mask
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
        if self.display.debug:
            sys.stderr.write(_masked("".join(traceback.format_exception(error))))
        known = isinstance(error, XcomctlError)
        text = error.message if isinstance(error, XcomctlError) else f"{type(error).__name__}: {error}"
        hint = error.hint if isinstance(error, XcomctlError) else None
        if not known and not self.display.debug:
            hint = "this is a fault of xcomctl; --debug shows where"
        self._say("error", " ".join(text.split("\n")), {"hint": hint} if hint else {})

    def unreadable(self, xcom: XCom, error: XcomctlError) -> None:
        """A foreign reference could not be looked up."""
        self.warning(f"cannot look up {xcom.reference}: {error.message}")

    def confirm(self, question: str) -> bool:
        """Ask on stderr; only `y` and `yes` are a yes."""
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    @contextmanager
    def progress(self) -> Iterator[Callable[[str, int], None]]:
        """A line that counts, on a terminal; silence elsewhere."""
        if self.display.quiet or self.display.verbose or not sys.stderr.isatty():
            yield lambda step, done: None
            return
        line = _Line()
        try:
            yield line.show
        finally:
            line.clear()

    def _say(self, level: str, text: str, facts: dict[str, object]) -> None:
        facts = {name: _masked(fact) if isinstance(fact, str) else fact for name, fact in facts.items()}
        text = _masked(text)
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
        wanted = self.display.color is Color.ALWAYS or (self.display.color is Color.AUTO and _colors())
        code = {"error": "31", "warning": "33", "hint": "36"}.get(level)
        return f"\x1b[{code}m{text}\x1b[0m" if wanted and code and text else text


_started = [Report()]
_masked = Mask()


def _write(text: str) -> None:
    """A log that is full or gone stops nothing; the exit code still tells."""
    with suppress(OSError):
        sys.stderr.write(text)


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
    """One line of a terminal, written over and over, at most five times a second."""

    def __init__(self) -> None:
        self._shown_at = 0.0

    def show(self, step: str, done: int) -> None:
        now = time.monotonic()
        if now - self._shown_at >= TICK_SECONDS:
            sys.stderr.write(f"\r\x1b[K{done:,} {step}")
            sys.stderr.flush()
            self._shown_at = now

    def clear(self) -> None:
        if self._shown_at:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _colors() -> bool:
    return sys.stderr.isatty() and "NO_COLOR" not in os.environ
