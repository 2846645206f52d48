"""What rows are measured on: servers and data, each made when it is first asked for, all gone at the end."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks import xcoms
from benchmarks.measuring import ROOT, environment
from benchmarks.row import Outcome
from benchmarks.s3.verbs import COUNT, RESET
from tests.lab.process import free_ports, running
from xcomctl.backend.reference import OWN_FOLDER

PREPARING_SECONDS = 3600


@dataclass
class Lab:
    """`scale` is what all sizes are multiplied by; `measured` are the rows so far."""

    scale: float = 1.0
    say: Callable[[str], None] = lambda text: None
    measured: list[Outcome] = field(default_factory=list)
    _until_close: ExitStack = field(default_factory=ExitStack)
    _made: dict[object, Any] = field(default_factory=dict)

    def close(self) -> None:
        """Stop the servers and remove what was made."""
        self._made.clear()
        self._until_close.close()

    @cached_property
    def folder(self) -> Path:
        """For files of this run."""
        return Path(self._until_close.enter_context(tempfile.TemporaryDirectory(prefix="xcomctl-benchmarks-")))

    def sized(self, count: int, least: int = 1000) -> int:
        """A count at this scale, in whole runs."""
        return max(least, int(count * self.scale)) // xcoms.PER_RUN * xcoms.PER_RUN

    def once(self, name: object, make: Callable[[], Any]) -> Any:
        """What `make` made when it was first asked for."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def postgres(self, rows: int, kind: str = "all") -> str:
        """The URL of a PostgreSQL database with so many XComs, of a kind of `benchmarks.databases`."""
        return self.once(("postgres", rows, kind), lambda: self._database("postgresql", rows, kind))

    def sqlite(self, rows: int) -> str:
        """The URL of a SQLite file with so many XComs, none of them large."""
        return self.once(("sqlite", rows), lambda: self._filled(f"sqlite:///{self._file(rows)}", rows, "small"))

    def mariadb(self, rows: int) -> str | None:
        """The same in MariaDB, where a server is named."""
        from tests.lab import mariadb

        server = mariadb.server()
        return server and self.once(("mariadb", rows), lambda: self._database("mysql", rows, "small"))

    def s3(self, rows: int, *more: str) -> str:
        """The endpoint of the stub with the objects of so many XComs, and `more` options of it."""
        return self.once(("s3", rows, more), lambda: self._stub(rows, more))

    def seaweedfs(self, rows: int) -> str:
        """The endpoint of a SeaweedFS with the objects of so many XComs, written now."""
        return self.once(("seaweedfs", rows), lambda: self._real(rows))

    def delayed(self, endpoint: str, seconds: float) -> str:
        """A proxy before a server, which every request waits in."""
        from tests.lab.proxy import Delay, FaultProxy, Rule

        proxy = self._until_close.enter_context(FaultProxy(int(endpoint.rpartition(":")[2])))
        proxy.rules = [Rule(Delay(seconds))]
        return proxy.endpoint

    def large_object(self, size: int) -> tuple[str, str]:
        """A SQLite file whose first row refers to an object of so many compressed bytes, and where that is."""
        endpoint = self.s3(0)
        url = self.sqlite(xcoms.PER_RUN)
        self._prepare("benchmarks.objects", "large", endpoint, str(size), url)
        return url, endpoint

    def airflow(self) -> dict[str, str]:
        """The environment of an Airflow that has a home, and has been started there before."""
        home = self.folder / "airflow"
        return {"AIRFLOW_HOME": str(home), "HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}

    def _file(self, rows: int) -> Path:
        path = self.folder / f"{rows}.db"
        path.touch()
        return path

    def _database(self, dialect: str, rows: int, kind: str) -> str:
        from tests.lab import mariadb, postgres

        if dialect == "postgresql":
            server = self.once("postgres server", lambda: self._until_close.enter_context(postgres.server()))
            url = self._until_close.enter_context(postgres.fresh_database(server))
        else:
            named = mariadb.server()
            assert named is not None
            url = self._until_close.enter_context(mariadb.fresh_database(named))
        return self._filled(url, rows, kind)

    def _filled(self, url: str, rows: int, kind: str) -> str:
        self.say(f"{rows:,} rows into {url.partition(':')[0]}")
        self._prepare("benchmarks.databases", url, str(rows), kind)
        return url

    def _prepare(self, *words: str) -> None:
        """In a process of its own, so that this one stays small."""
        command = [sys.executable, "-m", *words]
        subprocess.run(command, env=environment({}), cwd=ROOT, check=True, timeout=PREPARING_SECONDS)

    def _real(self, rows: int) -> str:
        from tests.lab import s3

        server = self._until_close.enter_context(s3.seaweedfs())
        self.say(f"the objects of {rows:,} rows into SeaweedFS")
        self._prepare("benchmarks.objects", "all", server.endpoint, str(rows))
        return server.endpoint

    def _stub(self, rows: int, more: Sequence[str]) -> str:
        (port,) = free_ports(1)
        self.say(f"the objects of {rows:,} rows {' '.join(more)}")
        command = [sys.executable, "-m", "benchmarks.s3", str(port), "--bucket", xcoms.BUCKET]
        command += ["--rows", str(rows), *more]
        endpoint = f"http://127.0.0.1:{port}"
        log = self.folder / f"stub-{port}.log"
        server = running(command, lambda: _answers(endpoint), log, environment=environment({}), timeout=600)
        self._until_close.enter_context(server)
        return endpoint


def reset(endpoint: str) -> None:
    """The stub holds again what it held at first."""
    urllib.request.urlopen(f"{endpoint}/{RESET}", data=b"", timeout=60).close()


def counted(endpoint: str) -> int:
    """How many objects of XComs the stub holds now, whatever anybody says of them."""
    query = urllib.parse.urlencode({"prefix": f"{xcoms.PREFIX}/", "without": OWN_FOLDER})
    with urllib.request.urlopen(f"{endpoint}/{COUNT}?{query}", timeout=60) as answer:
        return int(answer.read())


def _answers(endpoint: str) -> bool:
    try:
        urllib.request.urlopen(endpoint, timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
