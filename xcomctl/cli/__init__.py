"""The front door: options in, one operation called, its result shown, an exit code out.

Only the command that runs imports what it needs, so that `--help` and completion are quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from xcomctl import __version__
from xcomctl.cli import report
from xcomctl.cli.options import Color, Display, LogFormat
from xcomctl.cli.signals import Terminated
from xcomctl.errors import ExitCode, StorageError, UsageError, XcomctlError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code. Every error becomes two lines on stderr."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _open_missing_streams()
    if (shell := os.environ.get("_XCOMCTL_COMPLETE")) is not None:
        from xcomctl.cli import completing

        completing.answer(shell, words)
    report.start(_early(words))
    try:
        from xcomctl.cli.app import command_line

        _require_text(words)
        code = command_line().main(args=words or ["--help"], prog_name="xcomctl", standalone_mode=False)
        sys.stdout.flush()
        return int(code or (ExitCode.OK if words else ExitCode.USAGE))
    except (BrokenPipeError, SystemExit) as ended:
        # Typer and rich make an exit of their own of a broken pipe.
        if isinstance(ended, SystemExit) and not isinstance(ended.__context__, BrokenPipeError):
            raise
        return ExitCode.BROKEN_PIPE
    except (KeyboardInterrupt, EOFError):
        return ExitCode.INTERRUPTED
    except Terminated:
        return ExitCode.TERMINATED
    except Exception as error:
        return _failed(error, words[0] if words else "")
    finally:
        report.drop_unwritable(sys.stdout, sys.stderr)


def _early(words: Sequence[str]) -> Display:
    """How to say what is wrong with the options themselves, as far as they can be understood before they are read."""

    def said(option: str, known: Collection[str], otherwise: str) -> str:
        chosen = os.environ.get(f"XCOMCTL_{option.replace('-', '_').upper()}", otherwise)
        for word, following in zip(words, (*words[1:], ""), strict=False):
            name, equals, value = word.partition("=")
            if name == f"--{option}":
                chosen = value if equals else following
        return chosen if chosen in known else otherwise

    color = said("color", [each.value for each in Color], "auto")
    log_format = said("log-format", [each.value for each in LogFormat], "text")
    return Display(color=Color(color), log_format=LogFormat(log_format))


def _open_missing_streams() -> None:
    """A process may be started with its streams closed (`>&-`); what it says then is for nobody."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115


def _require_text(words: Sequence[str]) -> None:
    """Names in Airflow are UTF-8; other bytes arrive as half surrogates, which no database takes."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UsageError("an argument is not UTF-8", hint="nothing in Airflow has such a name") from None


def _failed(error: Exception, command: str) -> int:
    """Report an error, and say its exit code. Typer's own errors know their message and their code."""
    message = getattr(error, "format_message", None)
    if callable(message):
        from xcomctl.cli.app import COMMANDS
        from xcomctl.cli.mistakes import mistake

        error = mistake(error, message(), f"xcomctl {command}" if command in COMMANDS else "xcomctl")
    elif type(error).__name__ == "Abort":
        return ExitCode.INTERRUPTED
    if isinstance(error, OSError):
        cause, error = error, StorageError(f"cannot write: {error.strerror or error}", hint="is the disk full?")
        error.__cause__ = cause
    report.current().error(error)
    return error.exit_code if isinstance(error, XcomctlError) else ExitCode.NO


__all__ = ["__version__", "main"]
