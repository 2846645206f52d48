"""What is wanted: the most that xcomctl may cost, as a multiple of what it is measured against.

A row without a goal is told, and not judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Goal:
    """At most `limit` times what the floor, or the script, costs by this measure; or so many megabytes."""

    limit: float
    against: Literal["floor", "script", "megabytes"] = "floor"
    of: Literal["wall", "peak"] = "wall"

    def __str__(self) -> str:
        if self.against == "megabytes":
            return f"≤ {self.limit:g} MB"
        what = {"wall": "", "peak": " in memory"}[self.of]
        return f"≤ {self.limit:g} × the {self.against}{what}"


def _megabytes(limit: float) -> Goal:
    return Goal(limit, "megabytes", "peak")


_SCAN = (Goal(1.5),)
_FAR = (Goal(1 / 20, "script"),)

GOALS: dict[str, tuple[Goal, ...]] = {
    "start version": (Goal(0.15),),
    "start help": (Goal(0.15),),
    "start completion": (Goal(0.15),),
    "start ls": (Goal(0.4),),
    "ls postgresql": _SCAN,
    "du postgresql": _SCAN,
    "gc plan": (Goal(1.4), Goal(1 / 5, "script"), _megabytes(300)),
    "gc plan seaweedfs": (Goal(1.4), Goal(1 / 5, "script")),
    "gc plan 20 ms": _FAR,
    "gc plan 80 ms": _FAR,
    "gc sweep versions": (Goal(1 / 0.8),),
    "gc sweep trash": (Goal(1 / 0.8),),
    "migrate": (Goal(1 / 0.7), Goal(1 / 4, "script")),
    "get": (Goal(1.2),),
    "gc scale 10000000": (_megabytes(700),),
    **{f"{what} {where}": _SCAN for what in ("ls", "du", "gc rows") for where in ("mariadb", "sqlite")},
}
