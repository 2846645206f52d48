"""One direction that values move in: which rows it is about, what keeps each, and what it puts in their place.

A move changes no row: it makes what the row is to hold, in many threads, and the migration swaps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

from xcomctl.backend import payload
from xcomctl.backend.reference import ANY_LEAF, Address, address_of
from xcomctl.catalog.catalog import Row
from xcomctl.catalog.rewriting import Rewriter, Text
from xcomctl.errors import StorageError, XcomctlError
from xcomctl.model import XCom
from xcomctl.operations.gc import Scope
from xcomctl.operations.migrate.terms import Failure, Skip


@dataclass(frozen=True, slots=True)
class Carried:
    """What a row is to hold, a JSON text; `size_bytes` is that of the value, as text or as the object that it is.

    `reference` is the URL in the row, if it is one, and `value` the JSON text behind it, where that was read.
    """

    new: str
    size_bytes: int
    reference: str | None = None
    value: bytes | None = None


class ImmovableError(XcomctlError):
    """This row cannot move, or cannot now."""

    def __init__(self, code: Failure, message: str) -> None:
        super().__init__(message)
        self.code = code


class Move(Protocol):
    """A direction."""

    def rows(self) -> Iterator[Row]:
        """The rows that it is about."""

    def kept(self, row: Row) -> Skip | None:
        """What speaks against moving a row, as far as it shows without its value."""

    def carried(self, text: Text, rewriter: Rewriter) -> Carried | Skip:
        """Put the value where it is to be, and say what its row is to hold; `rewriter` is what will change it.

        Raises `ImmovableError` for what is wrong with this row, `StorageError` for what is wrong with the store.
        """


def parsed(data: bytes) -> Any:
    """What a JSON text says, but for its numbers, which Python refuses to read where they have more than 4300 digits.

    Raises ValueError for anything else: JSON is UTF-8 here, which Python's reader of bytes does not ask.
    """
    try:
        return json.loads(data.decode(), parse_int=len, parse_float=len)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def is_json(data: bytes) -> bool:
    """Whether bytes are a JSON text."""
    try:
        parsed(data)
    except ValueError:
        return False
    return True


def has_safe_names(xcom: XCom, base: Address) -> bool:
    """Whether Airflow would find an object under these names."""
    return address_of(base, xcom.dag_id, xcom.run_id, xcom.task_id, ANY_LEAF) is not None


def fresh(xcom: XCom, base: Address, suffix: str) -> Address:
    """The address of a new object for a row, under a name that never was."""
    address = address_of(base, xcom.dag_id, xcom.run_id, xcom.task_id, f"{uuid4()}{suffix}")
    if address is None:
        raise ImmovableError(Failure.WRITE_FAILED, "its names do not make the URL of an object")
    return address


def written(scope: Scope, xcom: XCom, data: bytes, codec: str | None) -> Address:
    """The address of a new object with this JSON text."""
    address = fresh(xcom, scope.base, payload.SUFFIX_OF[codec] if codec else "")
    create(scope, address, payload.compress(data, codec) if codec else data)
    return address


def create(scope: Scope, address: Address, data: bytes) -> None:
    """Write an object where there is none."""
    try:
        scope.store.create(address.location.name, data)
    except FileExistsError as error:
        message = f"an object of a new name is there already: {address.location.url}"
        raise StorageError(message, hint="run it again") from error
