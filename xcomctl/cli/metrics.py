"""`--metrics-file`: what a run did, for Prometheus, in a file that a collector may read at any moment."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from xcomctl.errors import StorageError, UsageError
from xcomctl.operations.gc import Account

_LAST_SUCCESS = "xcomctl_gc_last_success_timestamp_seconds"


def require_writable(path: Path) -> None:
    """Before anything is done. Raises `UsageError` for what cannot or should not be replaced: a device, a folder."""
    if path.exists() and not path.is_file():
        raise UsageError(f"--metrics-file {path} is no file", hint="name a file, which is replaced whole")
    if not os.access(path.absolute().parent, os.W_OK | os.X_OK):
        raise UsageError(f"--metrics-file {path} cannot be written", hint="is its folder there, and open to this user?")


def write(path: Path, account: Account | None, exit_code: int, seconds: float) -> None:
    """Replace the file whole. Without an account the run failed before it knew anything.

    The format is OpenMetrics; node_exporter's textfile collector reads it too. Raises `StorageError`.
    """
    lines = [*_run(path, exit_code, seconds), *(_counts(account) if account is not None else ()), "# EOF"]
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        beside.write_text("\n".join(lines) + "\n", encoding="utf-8")
        beside.chmod(0o644)
        beside.replace(path)
    except OSError as error:
        raise StorageError(f"cannot write --metrics-file {path}: {error.strerror}", hint="name another file") from error


def _run(path: Path, exit_code: int, seconds: float) -> Iterator[str]:
    now = time.time()
    last = now if exit_code == 0 else _last_success(path)
    yield from _gauge("xcomctl_gc_last_run_timestamp_seconds", "When gc ran last.", {"": now})
    if last is not None:
        yield from _gauge(_LAST_SUCCESS, "When gc ended with exit code 0 last.", {"": last})
    yield from _gauge("xcomctl_gc_duration_seconds", "How long the last run took.", {"": seconds})
    yield from _gauge("xcomctl_gc_exit_code", "How the last run ended.", {"": exit_code})


def _counts(account: Account) -> Iterator[str]:
    tallies = account.tallies
    objects = {f'{{what="{name}"}}': float(tally.count) for name, tally in tallies.items()}
    sizes = {f'{{what="{name}"}}': float(tally.bytes) for name, tally in tallies.items()}
    gates = {f'{{gate="{refusal.gate.value}"}}': 1.0 for refusal in account.plan.refusals}
    yield from _gauge("xcomctl_gc_objects", "Objects, by what the last run found or did.", objects)
    yield from _gauge("xcomctl_gc_bytes", "Their bytes.", sizes)
    yield from _gauge("xcomctl_gc_refused", "The gates that refused the last run.", gates)
    yield from _gauge("xcomctl_gc_failures", "What failed in the last run.", {"": float(len(account.failures))})


def _gauge(name: str, help_text: str, samples: dict[str, float]) -> Iterator[str]:
    yield f"# TYPE {name} gauge"
    yield f"# HELP {name} {help_text}"
    for labels, value in samples.items():
        yield f"{name}{labels} {value:.17g}"


def _last_success(path: Path) -> float | None:
    """What the file said before."""
    try:
        found = re.search(rf"^{_LAST_SUCCESS} (\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        return float(found[1]) if found else None
    except (OSError, ValueError):
        return None
