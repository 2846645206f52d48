"""What runs inside the process that loads the sandbox's Airflow: one process, for Airflow needs seconds
to start. Airflow's own command line and session do the work; what they say goes to the sandbox's log.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import cast


def enter(environment: dict[str, str], log: Path) -> None:
    """Turn this fresh process into one of the sandbox, before Airflow is imported."""
    os.environ.clear()
    os.environ.update(environment)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(output, stream)


def run_command(*arguments: str) -> str | None:
    """Run `airflow ARGUMENTS…`. Returns what went wrong in one line, or None."""
    sys.argv = ["airflow", *arguments]
    try:
        from airflow.__main__ import main

        cast("Callable[[], None]", main)()
    except SystemExit as stopped:
        return None if stopped.code in (None, 0) else str(stopped.code)
    except Exception as error:
        traceback.print_exc()
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def delete_first_run(dag_id: str) -> str:
    """Delete the oldest run of a DAG and return its `run_id`.

    This is what "Delete run" in the UI and in the REST API does (airflow/api_fastapi/core_api/routes/
    public/dag_run.py, `delete_dag_run`): the database removes the run's XComs by cascade, and nobody
    tells the XCom backend.
    """
    from airflow.models import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        oldest = select(DagRun).where(DagRun.dag_id == dag_id).order_by(DagRun.id).limit(1)
        run = session.scalars(oldest).one()
        run_id = str(run.run_id)
        session.delete(run)
    return run_id
