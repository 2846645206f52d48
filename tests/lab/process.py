"""Servers of the lab as child processes: started, awaited, and killed again.

A server that does not come up fails the test with the tail of its own log.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on; all are different."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def running(
    command: Sequence[str],
    ready: Callable[[], bool],
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
    timeout: float = 30,
) -> Iterator[None]:
    """The command runs, and `ready` has said yes once, for as long as the block lasts.

    Raises RuntimeError with the end of the log when it stops early or is not ready after `timeout` seconds.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    try:
        _await(process, ready, log, timeout)
        yield
    finally:
        # The group, because SeaweedFS and ministack may start helpers; it may be gone already.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        while left := _members(process.pid):
            for member in left:
                with suppress(ProcessLookupError):
                    os.kill(member, signal.SIGKILL)


def _members(session: int) -> list[int]:
    """Who still runs in the session: what Airflow starts there makes groups of its own."""
    listed = subprocess.run(("ps", "-A", "-o", "pid=,stat="), capture_output=True, text=True, check=True).stdout
    processes = (line.split() for line in listed.splitlines())
    return [int(pid) for pid, state in processes if not state.startswith("Z") and _session(int(pid)) == session]


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def _await(process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not ready():
        stopped = process.poll() is not None
        if stopped or time.monotonic() > deadline:
            why = f"stopped with {process.returncode}" if stopped else f"is not ready after {timeout:g} s"
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
            raise RuntimeError(f"{process.args!r} {why}:\n{tail}")
        time.sleep(0.02)
