"""A running Airflow: its API server or webserver, its DAG processor and its scheduler, as processes of their own.

They listen on free ports of 127.0.0.1, let everybody in, and end with the block that started them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from typing import Any
from urllib.parse import quote, urlencode

from tests.lab.process import free_ports, running
from xcomctl.demo.sandbox import Sandbox

AIRFLOW = tuple(int(part) for part in version("apache-airflow").split(".")[:2])
STARTED_SECONDS = 90
FINISHED_SECONDS = 120
ENDED = ("success", "failed")


@dataclass(frozen=True)
class Deployment:
    """An Airflow with the home of `sandbox` and the metadata database at `url`; `settings` are for all its parts."""

    sandbox: Sandbox
    url: str
    settings: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=lambda: free_ports(1)[0])

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @cached_property
    def rest(self) -> Rest:
        return Rest(self.address)

    def environment(self, **settings: str) -> dict[str, str]:
        """What every process of this Airflow sees."""
        secret = "known to all parts of the Airflow of a test, and to nobody else in the world"
        options = {
            ("core", "executor"): "LocalExecutor",
            ("core", "parallelism"): "4",
            ("core", "dags_are_paused_at_creation"): "False",
            ("core", "simple_auth_manager_all_admins"): "True",
            ("core", "execution_api_server_url"): f"{self.address}/execution/",
            ("database", "sql_alchemy_conn"): self.url,
            ("api", "auth_backends"): "airflow.api.auth.backend.default",
            ("api", "enable_xcom_deserialize_support"): "True",
            ("api", "base_url"): self.address,
            ("api", "secret_key"): secret,
            ("api_auth", "jwt_secret"): secret,
            ("api_auth", "jwt_issuer"): "a test",  # without one, Airflow 3.0 beside today's PyJWT accepts no token
            ("webserver", "base_url"): self.address,
            ("webserver", "secret_key"): secret,
            ("webserver", "workers"): "1",
            ("scheduler", "scheduler_heartbeat_sec"): "1",
            ("scheduler", "scheduler_idle_sleep_time"): "0.2",
        }
        named = {f"AIRFLOW__{section}__{name}".upper(): value for (section, name), value in options.items()}
        return {**self.sandbox.environment(), **named, **self.settings, **settings}

    def prepare(self) -> None:
        """Make the database, and let Airflow 2 ask nobody for a password."""
        (self.sandbox.folder / "webserver_config.py").write_text('AUTH_ROLE_PUBLIC = "Admin"\n')
        command = (sys.executable, "-m", "airflow", "db", "migrate")
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]

    @contextmanager
    def serving(self) -> Iterator[None]:
        """People and tasks can talk to it; Airflow 3 also reads its DAGs, which the scheduler of Airflow 2 does."""
        port = ("--port", str(self.port))
        with ExitStack() as parts:
            if AIRFLOW < (3,):
                server = ("webserver", "--hostname", "127.0.0.1", *port)
            else:
                server = ("api-server", "--host", "127.0.0.1", *port)
                parts.enter_context(self._running("dag-processor"))
            parts.enter_context(self._running(*server, ready=self.rest.answers))
            yield

    @contextmanager
    def scheduling(self, **settings: str) -> Iterator[None]:
        """Tasks run, with these settings beside the others."""
        with self._running("scheduler", "--skip-serve-logs", **settings):
            yield

    @contextmanager
    def _running(self, *words: str, ready: Callable[[], bool] = lambda: True, **settings: str) -> Iterator[None]:
        command = (sys.executable, "-m", "airflow", *words)
        log = self.sandbox.logs / f"{words[0]}.log"
        with running(command, ready, log, environment=self.environment(**settings), timeout=STARTED_SECONDS):
            yield

    def logs(self) -> str:
        """The ends of all logs, for a test that failed."""
        files = sorted(path for path in self.sandbox.logs.rglob("*.log") if path.stat().st_size)
        return "\n".join(f"== {path}\n{path.read_text(errors='replace')[-3000:]}" for path in files)

    def run(self, dag_id: str, run_id: str, conf: dict[str, Any]) -> None:
        """Trigger a run, and wait for its end."""
        self._until(lambda: self.rest.status(f"dags/{dag_id}") == 200, f"no DAG {dag_id}")
        when = {"logical_date": None} if AIRFLOW >= (3,) else {}
        self.rest.ask("POST", f"dags/{dag_id}/dagRuns", {"dag_run_id": run_id, "conf": conf, **when})
        self.wait(dag_id, run_id)

    def clear(self, dag_id: str, run_id: str, *task_ids: str) -> None:
        """Clear these tasks of a run and no others, or all of them, and wait for the end of what runs again."""
        which: dict[str, Any] = {"task_ids": list(task_ids)} if task_ids else {}
        body = {"dry_run": False, "only_failed": False, "reset_dag_runs": True, "dag_run_id": run_id, **which}
        self.rest.ask("POST", f"dags/{dag_id}/clearTaskInstances", body)
        self.wait(dag_id, run_id)

    def wait(self, dag_id: str, run_id: str) -> None:
        run = f"dags/{dag_id}/dagRuns/{quote(run_id)}"
        self._until(lambda: self.rest.ask("GET", run)["state"] in ENDED, f"{run_id} does not end")

    def states(self, dag_id: str, run_id: str) -> dict[str, str]:
        """How each task ended; of a mapped task, all of its instances together."""
        found = self.rest.ask("GET", f"dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances")["task_instances"]
        ends: dict[str, set[str]] = {}
        for each in found:
            ends.setdefault(each["task_id"], set()).add(str(each["state"]))
        return {task_id: " ".join(sorted(states)) for task_id, states in ends.items()}

    def _until(self, happened: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + FINISHED_SECONDS
        while not happened():
            if time.monotonic() > deadline:
                raise AssertionError(f"{otherwise}\n{self.logs()}")
            time.sleep(0.2)


@dataclass(frozen=True)
class Rest:
    """Airflow's REST API, and its web pages."""

    address: str

    @property
    def prefix(self) -> str:
        return f"{self.address}/api/v{1 if AIRFLOW < (3,) else 2}"

    @cached_property
    def _token(self) -> str:
        with urllib.request.urlopen(f"{self.address}/auth/token", timeout=30) as response:
            return str(json.load(response)["access_token"])

    def ask(self, method: str, path: str, body: object = None, **query: str) -> Any:
        """The answer to a request; raises AssertionError with what Airflow says when it refuses."""
        try:
            return json.loads(self._send(method, f"{self.prefix}/{path}?{urlencode(query)}", body))
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read()!r}") from None

    def status(self, path: str) -> int:
        try:
            self._send("GET", f"{self.prefix}/{path}")
        except urllib.error.HTTPError as error:
            return error.code
        return 200

    def page(self, path: str) -> str:
        """A web page of Airflow 2."""
        return self._send("GET", f"{self.address}/{path}").decode()

    def answers(self) -> bool:
        try:
            return self.status("version") == 200
        except OSError:
            return False

    def _send(self, method: str, url: str, body: object = None) -> bytes:
        headers = {"Accept": "*/*"} | ({} if body is None else {"Content-Type": "application/json"})
        if AIRFLOW >= (3,) and not url.endswith("/version"):
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as response:
            answer: bytes = response.read()
        return answer
