"""A small Airflow with its objects: rows in a database, objects in a store, and what gc makes of them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from fractions import Fraction
from itertools import islice
from typing import Any
from uuid import uuid4

from sqlalchemy.engine import Engine

from tests.lab import s3
from tests.lab.database import Database
from tests.lab.folder import Folder
from tests.lab.world import World
from xcomctl.backend.reference import Address, parse_base
from xcomctl.backend.storage import Store, open_store
from xcomctl.catalog import Catalog, open_catalog
from xcomctl.ledger import Control, control_folder
from xcomctl.ledger.lease import held, holder
from xcomctl.model import Deletion, StoredObject
from xcomctl.operations.gc import Account, Limit, Plan, Rules, Scope, collecting, make_plan
from xcomctl.operations.gc.sweep import carry_out

BASE_FOLDER = "pre/xcom"
AT_ONCE = Rules(older_than=timedelta(seconds=-5), single_pass=True, max_delete=Limit(share=Fraction(1)))
"""Buckets cannot be told to look old, so age is left out where it is not the point; a Date header has whole seconds."""


class Around:
    """A store around a real one, for a test to give it other manners."""

    def __init__(self, real: Any) -> None:
        self.real = real

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self.real, attribute)

    def listed(self, prefix: str, folders: Collection[str] = ()) -> Iterator[Sequence[StoredObject]]:
        """Whoever gives `objects` other manners gives them to this too."""
        if not hasattr(type(self), "objects"):
            yield from self.real.listed(prefix, folders)
            return
        found = self.objects(prefix)
        while some := list(islice(found, 2)):
            yield some


@dataclass
class Scene:
    """`world` and `raw` are what is there; `catalogs` and `store` are how xcomctl sees it."""

    database: Database
    world: World
    raw: s3.Bucket | Folder
    _engines: list[Engine] = field(default_factory=list)

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *_: object) -> None:
        """Give back idle connections: a server has a hundred, and a test may open a thousand catalogues."""
        while self._engines:
            self._engines.pop().dispose()

    @property
    def base(self) -> Address:
        base = parse_base(f"{self.raw.url}/{BASE_FOLDER}")
        assert base is not None
        return base

    @property
    def store(self) -> Store:
        return open_store(self.base, self.raw.options)

    @property
    def catalog(self) -> Catalog:
        """The database as it is now. The one before may be in use still; what it does not use is given back."""
        self.__exit__()
        catalog = open_catalog(self.database.url, self.database.schema, self.base)
        self._engines.append(catalog.database.engine)
        return catalog

    def put(self, name: str, body: bytes = b"[1]") -> str:
        """An object without a row; its URL."""
        self.raw.put(f"{BASE_FOLDER}/{name}", body)
        return f"{self.base.text}/{name}"

    def leak(self, dag_id: str, run_id: str = "r", task_id: str = "t", suffix: str = "") -> str:
        """An object as a task leaves it, without a row; its URL."""
        return self.put(f"{dag_id}/{run_id}/{task_id}/{uuid4()}{suffix}")

    def push(self, dag_id: str, run_id: str = "r", task_id: str = "t", map_index: int = -1, key: str = "k") -> str:
        """An object and its row; its URL."""
        url = self.leak(dag_id, run_id, task_id)
        self.world.push(dag_id, run_id, task_id, map_index, key, value=json.dumps(url))
        return url

    def urls(self) -> set[str]:
        """Everything under the base path."""
        return {f"{self.raw.url}/{key}" for key in self.raw.keys(f"{BASE_FOLDER}/")}

    def age(self, url: str, days: float) -> None:
        assert isinstance(self.raw, Folder)
        self.raw.age(url.removeprefix(f"{self.raw.url}/"), timedelta(days=days))

    def scope(self, catalogs: Sequence[Catalog] = (), store: Store | None = None) -> Scope:
        """What gc works on here: all of it, or with other databases or another store."""
        used = store or self.store
        control = Control(used, control_folder(self.base, None))
        return Scope(tuple(catalogs or [self.catalog]), used, self.base, control)

    def plan(self, rules: Rules = AT_ONCE, catalogs: Sequence[Catalog] = (), store: Store | None = None) -> Plan:
        """What a dry run finds."""
        return make_plan(self.scope(catalogs, store), rules)

    def planned(self, rules: Rules = AT_ONCE, catalogs: Sequence[Catalog] = (), store: Store | None = None) -> Account:
        """The account of a run that has looked and done nothing yet."""
        return Account(self.plan(rules, catalogs, store), "operation")

    def run(self, account: Account, catalogs: Sequence[Catalog] = (), store: Store | None = None) -> Iterator[Deletion]:
        """Carry out what was planned."""
        scope = self.scope(catalogs, store)
        with held(scope.control, holder(account.operation_id, "gc")) as lease:
            yield from carry_out(account, scope, lease, lambda: None)

    def collect(self, rules: Rules = AT_ONCE, catalogs: Sequence[Catalog] = (), store: Store | None = None) -> Account:
        """One whole run."""
        with collecting(self.scope(catalogs, store), rules) as collection:
            if not collection.account.plan.refusals and not rules.dry_run:
                list(collection.carry_out())
        return collection.account
