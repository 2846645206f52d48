"""Whether this container's XCom backend is real, configured, reachable and gives back what it is given.

The checks come one by one, each a `Check`. Airflow is imported once, in this process, when the first check needs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from xcomctl.errors import StorageError
from xcomctl.operations.verify import backend_class, options, store, trip, versions
from xcomctl.operations.verify.container import Container
from xcomctl.operations.verify.runner import Overdue, deadline, run
from xcomctl.operations.verify.terms import CHECK_SECONDS, FIELDS, Check, Probe, Status


def verify(container: Container) -> Iterator[Check]:
    """Ask every check about this container, and leave nothing behind in it, however it ends."""
    try:
        yield from run(probes(read_only=container.read_only), container, container.masked)
    except BaseException:  # a signal: of its own accord the last check tidies up
        if container.trials is not None and not container.read_only:
            with suppress(StorageError, Overdue), deadline(CHECK_SECONDS):
                container.trials.break_off()
        raise


def probes(*, read_only: bool) -> tuple[Probe[Container], ...]:
    """The checks in their order: of what is configured, of the store, and of the class at work."""
    return (
        *backend_class.PROBES,
        *options.PROBES,
        *backend_class.CLASS_PROBES,
        *versions.PROBES,
        *options.STORAGE_PROBES,
        *store.probes(read_only=read_only),
        *trip.PROBES,
    )


__all__ = ["FIELDS", "Check", "Container", "Probe", "Status", "probes", "verify"]
