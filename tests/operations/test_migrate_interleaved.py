"""Values that go out, come back, change their compression, and are collected after, in every order, and broken off.

gc is at its most reckless here: it takes whatever no row refers to, however young.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import islice, product

import pytest

from tests.lab.effort import LONG
from tests.operations.moving import UNPROVED, followed, migrate, values
from tests.operations.scene import AT_ONCE, Around, Scene
from xcomctl.model import Filter, State
from xcomctl.operations.migrate import Account, Destination, Rules

MOVABLE = Filter(exclude_dag_ids=("steady",))
OUT = replace(UNPROVED, threshold=0, selected=MOVABLE)
BACK = replace(UNPROVED, to=Destination.INLINE, selected=MOVABLE)
ROWS = 3

pytestmark = [pytest.mark.databases("sqlite-3.3"), pytest.mark.stores("file")]


class Killed(BaseException):
    """As when the process is: nothing catches it."""


class Dying(Around):
    """A store whose user is killed when it has written the second object."""

    written = 0

    def create(self, name: str, data: bytes) -> None:
        self.real.create(name, data)
        self._count(name)

    def copy(self, source: object, name_there: str, name: str) -> None:
        self.real.copy(source, name_there, name)
        self._count(name)

    def _count(self, name: str) -> None:
        if "_xcomctl" not in name:
            self.written += 1
            if self.written == 2:
                raise Killed


def recompressed(scene: Scene) -> Rules:
    return replace(UNPROVED, relocate=scene.base, codec="gzip", selected=MOVABLE)


def killed(scene: Scene, rules: Rules) -> None:
    try:
        migrate(scene, rules, Dying(scene.store))
    except Killed:
        drop_lease(scene)


def drop_lease(scene: Scene) -> None:
    """What a dead process leaves: the next one on its machine takes it over."""
    control = scene.scope().control
    control.discard([control.name_of(each) for each in control.listed("lease/")])


DEEDS: dict[str, Callable[[Scene], Account | None]] = {
    "out": lambda scene: migrate(scene, OUT),
    "back": lambda scene: migrate(scene, BACK),
    "gzip": lambda scene: migrate(scene, recompressed(scene)),
    "out, killed": lambda scene: killed(scene, OUT),
    "gzip, killed": lambda scene: killed(scene, recompressed(scene)),
    "gc": lambda scene: None,
}
DEEP, EVERY = (5, 1) if LONG else (3, 7)
"""How many deeds in a row, and which share of all sequences: those of three in CI meet every pair."""


def test_nothing_is_lost(scene: Scene):
    scene.push("steady")
    for number in range(ROWS):
        scene.world.push("d", f"r{number}", "t", value=json.dumps({"number": number}))
    inline = values(scene)
    before = {key: followed(scene, value) for key, value in inline.items()}
    for deeds in islice(product(DEEDS, repeat=DEEP), 0, None, EVERY):
        for deed in deeds:
            DEEDS[deed](scene)
            scene.collect(AT_ONCE)
            after = {key: followed(scene, value) for key, value in values(scene).items()}
            assert after == before, f"{deed} of {deeds}"
        external = [xcom for xcom in scene.catalog.rows(Filter()) if xcom.state is State.EXTERNAL]
        assert len(scene.urls()) == len(external), deeds
        migrate(scene, BACK)
        assert values(scene) == inline and scene.collect(AT_ONCE).failures == [], deeds
