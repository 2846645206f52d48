"""The shared backend module: what Airflow and the command line both encode and decode XComs with.

`XComBackend` is found when it is first asked for: the command line reads references without loading Airflow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xcomctl.backend.xcom import XComBackend


def __getattr__(name: str) -> object:
    if name == "XComBackend":
        from xcomctl import compat

        # Airflow resolves its backend while it imports its own module: let that be over before ours is half loaded.
        compat.airflow_xcom()
        from xcomctl.backend.xcom import XComBackend

        return XComBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["XComBackend"]
