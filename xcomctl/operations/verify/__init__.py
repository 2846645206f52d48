"""Whether this container's XCom backend is real, configured, reachable and gives back what it is given.

The checks come one by one, each a `Check`. Airflow is imported once, in this process, when the first check needs it.
"""

from __future__ import annotations

from collections.abc import Iterator

from xcomctl import compat
from xcomctl.operations.verify import backend_class, options
from xcomctl.operations.verify.container import Container
from xcomctl.operations.verify.runner import run
from xcomctl.operations.verify.terms import FIELDS, Check, Probe, Status

PROBES: tuple[Probe[Container], ...] = (
    *backend_class.PROBES,
    *options.PROBES,
    *backend_class.CLASS_PROBES,
    *options.STORAGE_PROBES,
)


def verify(container: Container) -> Iterator[Check]:
    """Ask every check about this container, and leave nothing behind in it."""
    yield from run(PROBES, container, container.masked)


__all__ = ["FIELDS", "PROBES", "Check", "Container", "Status", "verify"]
