"""xcomctl as a real process that is killed, stopped or signalled at a chosen point of its work."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.cli.conftest import PATIENCE_SECONDS, XCOMCTL, Result, place
from tests.lab import s3
from tests.lab.proxy import Fault, Hold, HoldAfter, Rule
from tests.operations.scene import Scene
from tests.operations.wire import Trial

GC = ("gc", "--yes", "--older-than", "0s", "--confirm-after", "0s", "--unsafe-windows", "--max-delete", "100%")
"""Two of these in a row delete, once the objects are a second old."""

A_SECOND = 1.1
"""What a bucket's clock, which tells whole ones, may be behind its objects."""

SELF_HARM = Path(__file__).parent / "self_harm"
"""What makes batches of two, and what HARM_ variables ask for."""

SOON = 0.02

Befalls = Callable[[Fault], Rule]
"""Which request meets a fault."""


@dataclass(frozen=True)
class Victim:
    """A process at work; `hold` is where its request waits, if it was chosen by one."""

    process: subprocess.Popen[bytes]
    hold: Hold

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """As the kernel does when memory is short; nothing of it runs any more."""
        self.process.kill()
        self.process.communicate(timeout=PATIENCE_SECONDS)

    def ended(self) -> Result:
        """How it ended by itself."""
        out, err = self.process.communicate(timeout=PATIENCE_SECONDS)
        return Result(self.process.returncode, out, err.decode())

    def await_stop(self) -> None:
        """Until it has stopped itself."""
        state = os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert state is not None and state.si_code == os.CLD_STOPPED, self.ended().err

    def asks(self) -> bool:
        """Wait for its request; False when it ends without sending it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.hold.reached.wait(SOON):
            assert time.monotonic() < deadline, "it neither asks nor ends"
            if self.process.poll() is not None:
                return False
        return True


def harmful(environment: Mapping[str, str], harm: Mapping[str, object]) -> dict[str, str]:
    """What a process is told that is to harm itself; xcomctl is the one that it would find anyway."""
    found_first = os.pathsep.join([str(SELF_HARM), environment.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return {"PYTHONPATH": found_first, **{f"HARM_{name}": str(harm[name]) for name in harm}}


@contextmanager
def running(
    trial: Trial, environment: Mapping[str, str], words: Sequence[str], hold: Hold | None = None, **harm: object
) -> Iterator[Victim]:
    """`running(trial, bare, GC, AT=3, SIGNAL="SIGKILL")`; where the trial is, and behind which proxy, is added."""
    process = subprocess.Popen(
        [*XCOMCTL, *words, *place(_seen_by_processes(trial)), "-o", "json"],
        env={**environment, **harmful(environment, harm)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield Victim(process, hold or Hold())
    finally:
        process.kill()
        process.communicate()


@contextmanager
def asking(
    trial: Trial, environment: Mapping[str, str], words: Sequence[str], befalls: Befalls, *, done: bool = False
) -> Iterator[Victim]:
    """A process of which this request waits: the store has `done` it already, or has not been asked yet."""
    assert trial.proxy is not None
    time.sleep(A_SECOND)
    hold = HoldAfter() if done else Hold()
    trial.proxy.rules = [befalls(hold)]
    with running(trial, environment, words, hold) as victim:
        try:
            assert victim.asks(), f"it never sent that: {victim.ended()}"
        finally:
            trial.proxy.rules = []
        yield victim


def release(trial: Trial, hold: Hold) -> None:
    """Let the waiting request go on to the store, and wait until it is done there."""
    answered = _answered(trial)
    hold.release.set()
    wait_until(lambda: _answered(trial) > answered)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(SOON)


def _answered(trial: Trial) -> int:
    return sum(seen.status is not None for seen in trial.requests)


def _seen_by_processes(trial: Trial) -> Scene:
    """Processes find the bucket behind the proxy."""
    raw = trial.scene.raw
    if trial.proxy is None or not isinstance(raw, s3.Bucket):
        return trial.scene
    return replace(trial.scene, raw=replace(raw, server=replace(raw.server, endpoint=trial.proxy.endpoint)))
