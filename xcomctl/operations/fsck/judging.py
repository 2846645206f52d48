"""What a row says by itself that is wrong with it. Pure: nothing is looked up."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from xcomctl.backend.reference import Address, parse, unique_part
from xcomctl.backend.rules import Rule
from xcomctl.catalog.catalog import Row
from xcomctl.catalog.limits import ValueLimit
from xcomctl.model import Severity, State, is_control_key
from xcomctl.operations.fsck.terms import Finding, Kind, of_row
from xcomctl.operations.rows import meaning


@dataclass(frozen=True, slots=True)
class Judge:
    """What rows are compared with: the base path, the database's limit, the formats of hand-written backends."""

    base: Address | None
    limit: ValueLimit | None
    rules: Sequence[Rule]

    def findings(self, row: Row) -> Iterator[Finding]:
        """All that is to be said of a row."""
        xcom = row.xcom
        if xcom.state is State.PICKLED:
            yield self._pickled(row)
        if xcom.state in (State.EXTERNAL, State.FOREIGN) and (is_control_key(xcom.key) or row.is_dag_result):
            yield self._control_key(row)
        if xcom.state is State.FOREIGN:
            yield self._foreign(row)
        if xcom.state is State.INLINE and row.string is not None:
            yield from self._odd_string(row, row.string)
        if self.limit is not None and xcom.size_bytes >= self.limit.near_bytes:
            yield _near_limit(row, self.limit)

    def _pickled(self, row: Row) -> Finding:
        detail = "Airflow 2 reads it only with [core] enable_xcom_pickling; the upgrade to 3 moves it to _xcom_archive"
        hint = f"push it anew as JSON, or do without: xcomctl rm --archive {meaning(row.xcom)}"
        return of_row(row.xcom, Kind.PICKLED, Severity.WARNING, detail, hint)

    def _control_key(self, row: Row) -> Finding:
        what = "the result of the run" if row.is_dag_result else f"the key {row.xcom.key}"
        detail = f"Airflow reads {what} from the row, and finds a URL there"
        old = "" if row.xcom.state is State.EXTERNAL else "once it is relocated: "
        hint = f"{old}xcomctl migrate --to inline {meaning(row.xcom)}"
        return of_row(row.xcom, Kind.CONTROL_KEY, Severity.ERROR, detail, hint)

    def _foreign(self, row: Row) -> Finding:
        """A reference that Airflow does not follow: encoded too often, or not spelled as the base path is."""
        xcom = row.xcom
        address = parse(xcom.reference or "")
        relocate = f"xcomctl migrate --relocate {shlex.quote(_old_base(row, address))}"
        if row.encodings > 1:
            detail = f"a reference that JSON encodes {row.encodings} times, so Airflow hands tasks the quoted URL"
            return of_row(xcom, Kind.DOUBLE_ENCODED, Severity.ERROR, detail, relocate)
        if self.base is None:
            detail = "a reference, but no base path is configured: Airflow hands tasks the URL"
            hint = "say --base-path, or set [common.io] xcom_objectstorage_path"
            return of_row(xcom, Kind.OUTSIDE_BASE, Severity.ERROR, detail, hint)
        if address is not None and self.base.location.holds(address.location):
            detail = f"{_way(address)} leads below the base path, which says {_way(self.base)}"
            return of_row(xcom, Kind.OTHER_CONNECTION, Severity.ERROR, detail, relocate)
        detail = f"it lies outside {self.base.text}, so Airflow hands tasks the URL"
        return of_row(xcom, Kind.OUTSIDE_BASE, Severity.ERROR, detail, relocate)

    def _odd_string(self, row: Row, string: str) -> Iterator[Finding]:
        xcom = row.xcom
        if row.encodings > 1:
            detail = f"a string that JSON encodes {row.encodings} times: tasks may get it with its quotes"
            hint = "common-io 1.5.3 and edits by the REST API of Airflow 3.0 and 3.1 wrote such: push it anew"
            yield of_row(xcom, Kind.DOUBLE_ENCODED, Severity.INFO, detail, hint)
        names = {name: str(value) for name, value in xcom.identity.items()}
        rule = next((each for each in self.rules if each.object_of(string, names) is not None), None)
        if rule is not None:
            detail = f"it looks like a reference in the form of {rule.name}: {rule.about}"
            hint = f"xcomctl migrate --rule {rule.name} --dry-run; or [xcomctl] rules lets XComBackend read it"
            yield of_row(xcom, Kind.HANDWRITTEN, Severity.WARNING, detail, hint)


def _near_limit(row: Row, limit: ValueLimit) -> Finding:
    detail = f"{row.xcom.size_bytes:,} bytes; {limit.source} takes {limit.bytes:,}"
    hint = f"xcomctl migrate --threshold {limit.near_bytes} {meaning(row.xcom)}"
    return of_row(row.xcom, Kind.NEAR_LIMIT, Severity.WARNING, detail, hint)


def _way(address: Address) -> str:
    """How a URL says where to go, without the place."""
    return f"{address.protocol}://" + (f"{address.conn_id}@" if address.conn_id else "")


def _old_base(row: Row, address: Address | None) -> str:
    """The base path under which a reference was written, as far as its end and the names of its row tell."""
    url = row.xcom.reference or ""
    xcom, unique = row.xcom, unique_part(url)
    folder = f"/{xcom.dag_id}/{xcom.run_id}/{xcom.task_id}/"
    if address is not None and unique is not None and folder in url:
        return url[: url.rindex(folder)]
    return url.rpartition("/")[0]
