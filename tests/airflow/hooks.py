"""A process of Airflow's that runs what it is told: one JSON line a request, one a reply, on its first descriptors.

    {"env": {...}, "code": "…"}  →  {"value": repr of the last line, "error": [type, message], "log": "…"}

`XCom` is the class that Airflow resolves, `row` makes what its hooks are given for a stored value.
"""

from __future__ import annotations

import ast
import io
import json
import logging
import os
import sys
from types import SimpleNamespace
from typing import Any

OPTIONS = (
    "AIRFLOW__COMMON_IO",
    "AIRFLOW__XCOMCTL",
    "AIRFLOW_CONN",
    "AIRFLOW_VAR",
    "AWS_",
    "AIRFLOW__CORE__ENABLE_XCOM_PICKLING",
)


def main() -> None:
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Airflow logs to stdout
    names = prepare()
    for line in sys.stdin:
        request = json.loads(line)
        replies.write(json.dumps(answer(request, names)) + "\n")
        replies.flush()


def prepare() -> dict[str, Any]:
    """What the code may use."""
    try:
        from airflow.sdk.execution_time.xcom import XCom
    except ImportError:
        from airflow.models.xcom import XCom
    from airflow import __version__
    from airflow.providers.common.io.xcom.backend import XComObjectStorageBackend as Stock

    is_2 = __version__.startswith("2.")

    def row(stored: Any, **names: Any) -> Any:
        return SimpleNamespace(value=stored, **names)

    def text(stored: Any) -> str:
        """The JSON text of what is in a row."""
        return stored.decode() if isinstance(stored, bytes) else json.dumps(stored)

    def column(stored: str) -> Any:
        """What a row holds for this JSON text."""
        return stored.encode() if is_2 else json.loads(stored)

    return {"XCom": XCom, "Stock": Stock, "row": row, "text": text, "column": column, "is_2": is_2, "json": json}


def answer(request: dict[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    heard = io.StringIO()
    handler = logging.StreamHandler(heard)
    logging.getLogger("xcomctl").addHandler(handler)
    configure(request["env"])
    try:
        return {"value": evaluated(request["code"], names), "log": heard.getvalue()}
    except Exception as error:
        return {"error": [type(error).__name__, str(error)], "log": heard.getvalue()}
    finally:
        logging.getLogger("xcomctl").removeHandler(handler)


def configure(env: dict[str, str]) -> None:
    """Be a process that has just started with these options."""
    from airflow.providers.common.io.xcom import backend as stock

    from xcomctl.backend import options
    from xcomctl.compat import inside

    for name in [name for name in os.environ if name.startswith(OPTIONS)]:
        del os.environ[name]
    os.environ.update(env)
    for module in (options, inside, stock):
        for cached in vars(module).values():
            if hasattr(cached, "cache_clear"):
                cached.cache_clear()


def evaluated(code: str, names: dict[str, Any]) -> str:
    """Run the code; the repr of its last line."""
    *before, last = ast.parse(code).body
    space = dict(names)
    exec(compile(ast.Module(before, []), "code", "exec"), space)
    assert isinstance(last, ast.Expr)
    return repr(eval(compile(ast.Expression(last.value), "code", "eval"), space))


if __name__ == "__main__":
    main()
