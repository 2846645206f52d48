"""How drivers of databases wait: some do so in C, where no alarm and no Ctrl-C is heard."""

from __future__ import annotations

import select
from typing import Any

from xcomctl.operations.verify.sources import importable


def let_alarms_be_heard() -> None:
    """Make psycopg2 wait in Python, if it is there: libpq would wait for a server that is silent without end."""
    if importable("psycopg2"):
        from psycopg2.extensions import set_wait_callback

        set_wait_callback(_wait)


def _wait(connection: Any) -> None:
    from psycopg2.extensions import POLL_OK, POLL_READ, POLL_WRITE

    while (state := connection.poll()) != POLL_OK:
        socket = [connection.fileno()]
        select.select(socket if state == POLL_READ else [], socket if state == POLL_WRITE else [], [])
