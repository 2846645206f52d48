"""From storage back into the row, where the database gives back the very value that the object holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from xcomctl.backend import payload
from xcomctl.backend.reference import Address, recognise
from xcomctl.backend.storage import Stores
from xcomctl.catalog.catalog import Row
from xcomctl.catalog.rewriting import Rewriter, Text
from xcomctl.catalog.schema import Form
from xcomctl.errors import MetadataError, StorageError
from xcomctl.operations.gc import Scope
from xcomctl.operations.migrate.move import Carried, ImmovableError, is_json
from xcomctl.operations.migrate.terms import Failure, Rules, Skip

ESCAPED = b"\0\n\r\x1a\"'\\"
"""What MySQL's drivers put a backslash before."""

AROUND_BYTES = 4096
"""The rest of the statement that a value is sent in."""


@dataclass(frozen=True, slots=True)
class Inward:
    """References that Airflow follows become the values that they refer to."""

    scope: Scope
    stores: Stores
    rules: Rules

    def rows(self) -> Iterator[Row]:
        """The rows that refer to an object of an XCom backend."""
        return (row for row in self.scope.catalog.pointing(self.rules.selected) if self._recognised(row.string))

    def kept(self, row: Row) -> Skip | None:
        """What another base path or connection wrote is to be relocated first."""
        return None if self._followed(row.string) else Skip.FOREIGN

    def carried(self, text: Text, rewriter: Rewriter) -> Carried | Skip:
        """Read the object, and try whether the row can hold it."""
        held = payload.string_of(text.data)
        address = self._followed(held[0] if held else None)
        if address is None:
            raise ImmovableError(Failure.CHANGED, "it refers to another object since")
        value = _text_of(self._read(address))
        self._require_a_place(value, text.row.table.form, rewriter)
        return Carried(value, len(value.encode()))

    def _recognised(self, string: str | None) -> Address | None:
        return recognise(string, self.scope.base) if string is not None else None

    def _followed(self, string: str | None) -> Address | None:
        address = self._recognised(string)
        return address if address is not None and address.follows(self.scope.base) else None

    def _read(self, address: Address) -> bytes:
        try:
            with self.stores.of(address).open(address.location.name) as body:
                return payload.decompress(body.read(), address.location.name).data
        except FileNotFoundError:
            raise ImmovableError(Failure.DANGLING, f"its object is gone: {address.text}") from None
        except StorageError as error:
            raise ImmovableError(Failure.READ_FAILED, f"{address.text}: {error.message}") from error

    def _require_a_place(self, text: str, form: Form, rewriter: Rewriter) -> None:
        """Raise `ImmovableError` unless a row with this text means to Airflow what the object does."""
        value = _parsed(text, strict=form is Form.JSON)
        if isinstance(value, str) and recognise(value, self.scope.base) is not None:
            raise ImmovableError(Failure.LOOKS_EXTERNAL, "its value is a URL that Airflow would take for a reference")
        if isinstance(value, str) and form is Form.BYTES and is_json(value.encode(errors="surrogatepass")):
            # common-io >=1.5.4 reads an inline string of JSON once more on Airflow 2 (XComObjectStorageBackend).
            raise ImmovableError(
                Failure.NOT_THE_SAME, "its value is a string of JSON, which Airflow 2 reads as what it says"
            )
        _require_size(text.encode(), form, rewriter.largest_bytes)
        kept = _kept(text, form, rewriter)
        if kept != text and _parsed(kept) != value:
            raise ImmovableError(Failure.NOT_THE_SAME, "the database would give back another value")


def _require_size(data: bytes, form: Form, largest_bytes: int | None) -> None:
    """PyMySQL sends bytes as hexadecimal digits, and text with a backslash before what needs one."""
    more = len(data) if form is Form.BYTES else sum(data.count(each) for each in ESCAPED)
    sent = len(data) + more + AROUND_BYTES
    if largest_bytes is not None and sent > largest_bytes:
        message = f"its value makes a statement of {sent:,} bytes; max_allowed_packet is {largest_bytes:,}"
        raise ImmovableError(Failure.TOO_LARGE, message)


def _kept(text: str, form: Form, rewriter: Rewriter) -> str:
    try:
        return rewriter.kept(text, form)
    except MetadataError as error:
        message = f"the database does not take its value: {error.message}"
        raise ImmovableError(_code_of(text, error), message) from error


def _code_of(text: str, error: MetadataError) -> Failure:
    if "\\u0000" in text:
        return Failure.NUL
    refusal = getattr(error.__cause__, "orig", None)
    state = getattr(refusal, "pgcode", None) or getattr(refusal, "sqlstate", None)
    return Failure.TOO_LARGE if state == "54000" else Failure.REFUSED  # program_limit_exceeded


def _text_of(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ImmovableError(Failure.NOT_JSON, f"its object is no JSON: {error}") from error


def _parsed(text: str, *, strict: bool = False) -> Any:
    """The value of a JSON text. Raises `ImmovableError` where it is none; with `strict` also for NaN and Infinity."""
    try:
        return json.loads(text, parse_constant=_refuse_constant if strict else None)
    except (ValueError, RecursionError) as error:
        raise ImmovableError(Failure.NOT_JSON, f"its object is no JSON: {error}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ImmovableError(Failure.NOT_A_NUMBER, f"its value has {name}, which a row of Airflow 3 cannot hold")
