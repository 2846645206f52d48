"""What a row says by itself that is wrong with it. Pure: nothing is looked up."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from xcomctl.backend.reference import Address, parse, place, quoted, unique_part
from xcomctl.backend.rules import Rule
from xcomctl.catalog.catalog import Row
from xcomctl.catalog.limits import ValueLimit
from xcomctl.model import Severity, State, XCom, is_control_key
from xcomctl.operations.fsck.terms import Finding, Kind, of_row
from xcomctl.operations.rows import meaning


@dataclass(frozen=True, slots=True)
class Judge:
    """What rows are compared with: the base path, the database's limit, the formats of hand-written backends."""

    base: Address | None
    base_is_airflows: bool
    limit: ValueLimit | None
    rules: Sequence[Rule]

    def findings(self, row: Row) -> Iterator[Finding]:
        """All that is to be said of a row."""
        xcom = row.xcom
        if xcom.state is State.PICKLED:
            yield self._pickled(row)
        if (is_control_key(xcom.key) or row.is_dag_result) and refers(xcom, self.base):
            yield self._control_key(row)
        address = parse(xcom.reference or "") if xcom.state is State.FOREIGN else None
        if address is not None:
            yield self._foreign(row, address)
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

    def _foreign(self, row: Row, address: Address) -> Finding:
        """A reference that Airflow does not follow: encoded too often, or not spelled as the base path is."""
        xcom, base = row.xcom, self.base
        hint = _relocating(xcom, address, base)
        if not refers(xcom, base):
            detail = "it ends as XCom backends name objects, but not those of its task: perhaps a task's own data"
            return of_row(xcom, Kind.OUTSIDE_BASE, Severity.INFO, detail, f"if it is a reference all the same: {hint}")
        if row.encodings > 1:
            detail = f"a reference that JSON encodes {row.encodings} times, so Airflow hands tasks the quoted URL"
            return of_row(xcom, Kind.DOUBLE_ENCODED, Severity.ERROR, detail, hint)
        if base is None:
            detail = "a reference, but nobody says what the base path is; without one Airflow hands tasks the URL"
            hint = "say --base-path, or set [common.io] xcom_objectstorage_path"
            return of_row(xcom, Kind.OUTSIDE_BASE, Severity.WARNING, detail, hint)
        if not self.base_is_airflows and _is_below(base, address) and _lacks_connection(base, address):
            detail = (
                f"{_way(address)}, while --base-path says no connection: Airflow follows it if its own base path does"
            )
            spelled = shlex.quote(_with_connection(base, address))
            hint = f"to know, say the base path as Airflow has it: --base-path {spelled}"
            return of_row(xcom, Kind.OTHER_CONNECTION, Severity.INFO, detail, hint)
        if _is_below(base, address):
            detail = f"{_way(address)} leads below the base path, which says {_way(base)}"
            return of_row(xcom, Kind.OTHER_CONNECTION, Severity.ERROR, detail, hint)
        detail = f"it lies outside {base.text}, so Airflow hands tasks the URL"
        return of_row(xcom, Kind.OUTSIDE_BASE, Severity.ERROR, detail, hint)

    def _odd_string(self, row: Row, string: str) -> Iterator[Finding]:
        xcom = row.xcom
        if row.encodings > 1:
            detail = f"a string that JSON encodes {row.encodings} times: tasks may get it with its quotes"
            hint = "common-io 1.5.3 and edits by the REST API of Airflow 3.0 and 3.1 wrote such: push it anew"
            yield of_row(xcom, Kind.DOUBLE_ENCODED, Severity.INFO, detail, hint)
        if "://" not in string:
            return
        names = {name: str(value) for name, value in xcom.identity.items()}
        rule = next((each for each in self.rules if each.object_of(string, names) is not None), None)
        if rule is not None:
            detail = f"it looks like a reference in the form of {rule.name}: {rule.about}"
            hint = f"[xcomctl] rules lets XComBackend read it; or: {_adopting(rule)}"
            yield of_row(xcom, Kind.HANDWRITTEN, Severity.WARNING, detail, hint)


def _near_limit(row: Row, limit: ValueLimit) -> Finding:
    detail = f"{row.xcom.size_bytes:,} bytes; {limit.source} takes {limit.bytes:,}"
    hint = f"xcomctl migrate --threshold {limit.near_bytes} {meaning(row.xcom)}"
    if row.xcom.state is State.PICKLED or is_control_key(row.xcom.key) or row.is_dag_result:
        hint = f"it cannot lie elsewhere; push less, or do without: xcomctl rm --archive {meaning(row.xcom)}"
    return of_row(row.xcom, Kind.NEAR_LIMIT, Severity.WARNING, detail, hint)


def _way(address: Address) -> str:
    """How a URL says where to go, without the place."""
    return f"{address.protocol}://" + (f"{address.conn_id}@" if address.conn_id else "")


def _lacks_connection(base: Address, address: Address) -> bool:
    return base.conn_id is None and address.conn_id is not None and address.protocol == base.protocol


def _with_connection(base: Address, address: Address) -> str:
    """The base path with the connection of a URL."""
    return base.text.replace("://", f"://{address.conn_id}@", 1)


def _adopting(rule: Rule) -> str:
    """The command that moves what a rule knows; where the rule does not, a person says in which bucket that is."""
    unsaid = rule.bucket is None and "{bucket}" in rule.root
    where = f" --relocate {rule.root.replace('{bucket}', 'BUCKET')}" if unsaid else ""
    return f"xcomctl migrate --rule {rule.name}{where}"


def _relocating(xcom: XCom, address: Address, base: Address | None) -> str:
    """What makes Airflow follow a reference that it does not."""
    old = old_base(xcom, address, base)
    if old is not None:
        return f"xcomctl migrate --relocate {shlex.quote(old)}"
    return f"no XCom backend names objects so, and none moves: run the task again, or xcomctl rm {meaning(xcom)}"


def refers(xcom: XCom, base: Address | None) -> bool:
    """Whether a row surely refers to an object of an XCom backend, whether Airflow follows it or not."""
    if xcom.state is not State.FOREIGN:
        return xcom.state is State.EXTERNAL
    address = parse(xcom.reference or "")
    return address is not None and (_is_below(base, address) or is_of_its_row(xcom, address))


def _is_below(base: Address | None, address: Address) -> bool:
    return base is not None and base.location.holds(address.location)


def is_of_its_row(xcom: XCom, address: Address) -> bool:
    """Whether a URL is that of an object as the row's own task would write it, wherever that lies.

    What only ends in a uuid may be a task's own data: Airflow is right to hand that on as it is.
    """
    unique = unique_part(address.text)
    return unique is not None and ("/" in unique or any(folder in address.text for folder in _folders(xcom)))


def _folders(xcom: XCom) -> tuple[str, ...]:
    """Where a task's objects lie below a base path, as names are and as Airflow 3.4 quotes them."""
    names = (xcom.dag_id, xcom.run_id, xcom.task_id)
    return f"/{'/'.join(names)}/", f"/{'/'.join(map(quoted, names))}/"


def old_base(xcom: XCom, address: Address, base: Address | None) -> str | None:
    """The base path under which a reference was written, as far as that can be told; None for no backend's name."""
    url, unique = address.text, unique_part(address.text)
    if unique is None:
        return None
    below = [url[url.rindex(folder) + 1 :] for folder in _folders(xcom) if folder in url]
    if base is not None and _is_below(base, address):
        below.insert(0, address.location.name[len(base.location.folder) :])
    leaf = unique.count("/") + 1
    below.append("/".join(url.split("/")[-leaf - len(("dag_id", "run_id", "task_id")) :]))
    names = (name for name in below if place(name) is not None and url.endswith(f"/{name}"))
    return next((url[: -len(name) - 1] for name in names), None)
