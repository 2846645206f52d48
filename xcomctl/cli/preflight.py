"""`xcomctl preflight`: which rows make the upgrade from Airflow 2 to 3 fail, or change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any, Optional

from xcomctl.cli import render, report
from xcomctl.cli.findings import counted, first, tell_counts
from xcomctl.cli.opening import opened
from xcomctl.cli.options import Display, Place, Rows, Table, flag, takes
from xcomctl.cli.report import Report
from xcomctl.errors import ExitCode, UsageError
from xcomctl.model import Filter

if TYPE_CHECKING:
    from xcomctl.catalog.casting import Dimensions
    from xcomctl.operations.preflight import Finding, Survey


@dataclass(frozen=True)
class Upgrade:
    """Which upgrade, and how much is shown of what it meets."""

    target: Annotated[
        Optional[str], flag("--target", metavar="X.Y.Z", help="The Airflow to upgrade to, such as 3.3.2; required.")
    ] = None
    limit: Annotated[
        int, flag("--limit", metavar="N", min=0, help="Show at most N findings, and count all; 0 is all.")
    ] = 0


@takes(Upgrade, Place, Rows, Table, Display)
def preflight(upgrade: Upgrade, place: Place, rows: Rows, table: Table, display: Display) -> ExitCode:
    """Find the rows that make the upgrade from Airflow 2 to 3 fail, or that it changes, and what helps.

    The upgrade turns the bytes of every XCom into JSON, and one bad row aborts it. What it does to a value differs
    between versions: so this asks about the very one. Each finding has a severity: error (the upgrade fails on this
    row), warning (its value changes, or the row moves to _xcom_archive), info (an equal value in another form). The
    database itself tries every value, row by row where it must; nothing is changed, and no large value is fetched.
    PostgreSQL then runs the migration itself on a copy of some rows, and rolls it back. On MySQL and SQLite it is said
    what could not be checked. Exits 1 when the upgrade would fail.

    Examples:

      xcomctl preflight --target 3.3.2
        Every row that the upgrade to 3.3.2 would fail on or change.

      xcomctl preflight --target 3.1.8 --dag-id 'etl_*' -o json
        The same of some DAGs, for a program.

    Exit status:

      0 2 10 12
      1  The upgrade would fail.
    """
    said = report.start(display)
    if upgrade.target is None:
        raise UsageError("preflight needs the version to upgrade to", hint="say --target, as 3.3.2")
    from xcomctl.operations.preflight import FIELDS, Survey, target_of

    target = target_of(upgrade.target)
    selected = rows.filter(datetime.now(timezone.utc))
    columns = table.chosen(FIELDS)
    deployment = opened(place, said, databases=1)
    survey = Survey(deployment.catalog, deployment.base, target, selected)
    if target.note:
        said.note(target.note)
    shown = _shown(survey, upgrade.limit, said)
    found = (asdict(finding) for finding in shown)
    render.records(found, columns, display.output, display.color, headers=table.headers)
    if not survey.is_needed:
        said.note(f"{deployment.catalog} is of Airflow 3 already: its XComs are JSON, and no upgrade casts them again")
        return ExitCode.OK
    _tell(survey, said)
    return ExitCode.NO if survey.fails else ExitCode.OK


def _shown(survey: Survey, limit: int, said: Report) -> Iterator[Finding]:
    """The first findings; the others are counted as well, for the exit code is about all."""
    with said.progress() as watch:
        yield from first(survey.findings(watch), limit, said)


def _tell(survey: Survey, said: Report) -> None:

    tell_counts(survey.counts, said)
    _tell_dimensions(survey, survey.caster.dimensions(), said)
    _tell_proof(survey, said)
    for check in survey.caster.unchecked:
        said.note(f"not checked: {check}")
    where = "" if survey.selected == Filter() else ", as far as the filters let it see"
    said.note(f"the upgrade to {survey.target.version} would {'fail' if survey.fails else 'pass'}{where}")


def _tell_dimensions(survey: Survey, found: Dimensions, said: Report) -> None:
    treatment = survey.target.treatment
    on_disk = f" ({render.readable_size(found.table_bytes)} on disk)" if found.table_bytes is not None else ""
    twice = ", after an update of every row" if treatment.rewrites_all else ""
    facts: dict[str, Any] = {"rows": found.rows, "bytes": found.bytes, "table_bytes": found.table_bytes}
    said.note(
        f"it rewrites {counted(found.rows)}, {render.readable_size(found.bytes)} of values{on_disk}, in one transaction"
        f"{twice}; the largest value has {render.readable_size(found.largest_bytes)}",
        **facts,
    )


def _tell_proof(survey: Survey, said: Report) -> None:
    proof = survey.rehearsed
    if proof is None:
        if survey.unproved:
            said.note(f"not proved, only predicted: {survey.unproved}")
        return
    if not proof.passed + proof.failed:
        said.note("not proved, only predicted: no value is small enough for a copy")
        return
    wrong = len(proof.surprises)
    said.note(
        f"proved on a copy, rolled back: of {counted(proof.passed)} that pass and {proof.failed} that fail "
        f"{f'{wrong} did otherwise' if wrong else 'all did as said'}"
    )
