"""From the row to storage, as if Airflow had put it there: byte for byte the text that the row holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from xcomctl.backend import payload
from xcomctl.backend.reference import Address, may_refer, recognise
from xcomctl.catalog.catalog import Row
from xcomctl.catalog.rewriting import Rewriter, Text
from xcomctl.catalog.schema import Form
from xcomctl.model import State, is_control_key, is_link
from xcomctl.operations.gc import Scope
from xcomctl.operations.migrate.move import (
    Carried,
    ImmovableError,
    has_safe_names,
    is_json,
    parsed,
    written,
)
from xcomctl.operations.migrate.terms import Failure, Rules, Skip


@dataclass(frozen=True, slots=True)
class Outward:
    """Large values become objects under the base path."""

    scope: Scope
    rules: Rules

    def rows(self) -> Iterator[Row]:
        """The rows whose text may be as large as the threshold."""
        return self.scope.catalog.addressed(self.rules.selected, at_least=self.rules.threshold)

    def kept(self, row: Row) -> Skip | None:
        """What could not be named under this base path, and what `kept_by_itself` says."""
        return kept_by_itself(row, self.scope.base)

    def carried(self, text: Text, rewriter: Rewriter) -> Carried | Skip:
        """Upload the text under a new name."""
        if len(text.data) < self.rules.threshold:
            held = payload.string_of(text.data)
            moved_meanwhile = held is not None and recognise(held[0], self.scope.base) is not None
            return Skip.REFERENCE if moved_meanwhile else Skip.BELOW_THRESHOLD
        against = kept_by_text(text.data, is_json=text.is_json)
        if isinstance(against, Skip):
            return against
        if against is not None:
            raise ImmovableError(against, "its value is no JSON")
        if text.row.table.form is Form.BYTES and is_string_of_json(text.data):
            return Skip.STRING_OF_JSON
        address = written(self.scope, text.row.xcom, text.data, self.rules.codec)
        return Carried(json.dumps(address.text), len(text.data), address.text, text.data)


def kept_by_itself(row: Row, base: Address) -> Skip | None:
    """What Airflow reads from the row, what is a reference or a pickle, and what could not be named."""
    xcom = row.xcom
    if is_control_key(xcom.key):
        return Skip.CONTROL_KEY
    if row.is_dag_result:
        return Skip.DAG_RESULT
    if xcom.state in (State.EXTERNAL, State.FOREIGN):
        return Skip.REFERENCE
    if xcom.state is State.PICKLED:
        return Skip.PICKLED
    return None if has_safe_names(xcom, base) else Skip.UNSAFE_NAME


def kept_by_text(data: bytes, *, is_json: bool = False) -> Skip | Failure | None:
    """What the text of a value says against moving it.

    What surely `is_json`, as the database itself writes it, is looked into only if it is a string with a URL in it.
    """
    if is_json and (data[:1] != b'"' or b":/" not in data):
        return None
    try:
        value = parsed(data)
    except ValueError:
        return Failure.NOT_JSON
    if is_link(value):
        return Skip.LINK
    return Skip.REFERENCE if isinstance(value, str) and may_refer(value) else None


def is_string_of_json(data: bytes) -> bool:
    """Whether the value, a JSON text, is a string that holds JSON itself."""
    value = parsed(data)
    return isinstance(value, str) and is_json(value.encode(errors="surrogatepass"))
