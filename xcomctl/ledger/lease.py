"""Who works on a base path now. Each run writes an object of its own, then looks who else is there, and gives way.

It needs no store that creates conditionally, which many do not: both of two runs write before either looks, so at
least one sees the other. The lease keeps order; that no live object is lost does not depend on it.
"""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from xcomctl.errors import LockedError, StorageError
from xcomctl.ledger.control import Control

FOLDER = "lease/"
LIFE = timedelta(minutes=10)
"""A run that has given no sign for so long is dead, wherever it ran."""

REFRESH = LIFE / 5


@dataclass(frozen=True, slots=True)
class Holder:
    """A run that holds the lease: alone, or beside others that also share it."""

    operation_id: str
    command: str
    shared: bool
    host: str
    process: str
    user: str

    @property
    def name(self) -> str:
        """Its object in the control folder."""
        return f"{FOLDER}{self.operation_id}.json"

    @property
    def is_dead(self) -> bool:
        """Whether its process ran on this machine, and is no more; unknown elsewhere, hence no."""
        machine, _, process = self.process.rpartition("/")
        here = _this_process().rpartition("/")[0]
        if not machine or machine != here:
            return False
        return _process(int(process.partition("@")[0])) != process

    def bars(self, other: Holder) -> bool:
        """Whether the other cannot work beside it."""
        return self.operation_id != other.operation_id and not (self.shared and other.shared)


def holder(operation_id: str, command: str, *, shared: bool = False) -> Holder:
    """This process as a holder."""
    return Holder(operation_id, command, shared, socket.gethostname(), _this_process(), _user())


@dataclass(slots=True)
class Lease:
    """A lease that this run holds, for as long as it `keep`s it."""

    control: Control
    mine: Holder
    signed: Mapping[str, float] = field(default_factory=dict)

    def keep(self) -> None:
        """Give a sign of life when one is due. Raises `LockedError` when another run has taken over."""
        if max(now - self.signed[name] for name, now in _clocks().items()) >= REFRESH.total_seconds():
            self.require()
            self._sign()

    def require(self) -> None:
        """Look whether it is still held. Raises `LockedError` when another run has taken over."""
        if self.control.read(self.mine.name) is None:
            raise LockedError("the lease was lost: this run gave no sign of life for too long", hint="run it again")

    def _sign(self) -> None:
        """Write, and look: in this order."""
        self.signed = _clocks()
        self.control.write_facts(self.mine.name, asdict(self.mine))
        for other in holders(self.control):
            if other.bars(self.mine):
                raise _held_by(other)


@contextmanager
def held(control: Control, mine: Holder) -> Iterator[Lease]:
    """Hold the lease while the block lasts. Raises `LockedError` when another run holds it."""
    lease = Lease(control, mine)
    try:
        lease._sign()
        yield lease
    finally:
        with suppress(StorageError):  # it ends by itself; what the block raised matters more
            control.discard([mine.name])


def require_free(control: Control, mine: Holder) -> None:
    """Raise `LockedError` where `held` would, without writing anything."""
    for other in holders(control, sweeping=False):
        if other.bars(mine):
            raise _held_by(other)


def holders(control: Control, *, sweeping: bool = True) -> list[Holder]:
    """The runs at work; what the dead left behind is removed, unless one is only looking."""
    found = control.listed(FOLDER)
    now = control.store.now(control.folder) if found else None
    alive: list[Holder] = []
    dead: list[Holder] = []
    for each in found:
        known = _read(control, control.name_of(each))
        if known is None or now is None:
            continue
        (dead if _is_silent(each.modified_at, now) or known.is_dead else alive).append(known)
    if dead and sweeping:
        control.discard([known.name for known in dead])
    return alive


def _read(control: Control, name: str) -> Holder | None:
    """The run of a lease, unless it was let go a moment ago."""
    facts = control.read_facts(name)
    try:
        return Holder(**facts) if facts is not None else None
    except TypeError as error:
        raise control.broken(name, "no lease") from error


def _is_silent(signed_at: datetime, now: datetime) -> bool:
    return now - signed_at > LIFE


def _held_by(other: Holder) -> LockedError:
    return LockedError(
        f"{other.command} {other.operation_id} of {other.user} on {other.host} is at work here",
        hint=f"wait for it; if it is dead, its lease ends {LIFE.seconds // 60} minutes after its last sign of life",
    )


def _clocks() -> dict[str, float]:
    """Two clocks, because one stands still while the machine sleeps, and the other may be set."""
    return {"monotonic": time.monotonic(), "wall": time.time()}


def _this_process() -> str:
    """Machine, boot, process namespace and process, as `<where>/<pid>@<start>`; empty off Linux."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        space = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return ""
    return f"{boot}/{space}/{_process(os.getpid())}"


def _process(pid: int) -> str:
    """A process and when it started, since pids are used again; empty when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else f"{pid}@{fields[19]}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user often has no name
        return str(os.getuid())
