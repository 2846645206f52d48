"""`xcomctl fsck`: what is wrong with what is stored, why, and the command that mends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Optional

from xcomctl.cli import render, report, suggest
from xcomctl.cli.findings import first, severity_first, tell_counts
from xcomctl.cli.opening import opened
from xcomctl.cli.options import Control, Display, Output, Place, Rows, Table, choose, duration, flag, takes
from xcomctl.errors import ExitCode, UsageError
from xcomctl.model import Severity, State

if TYPE_CHECKING:
    from xcomctl.operations.fsck import Check, Finding, Kind, Questions

COLORS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}


@dataclass(frozen=True)
class Looking:
    """What is looked for, and how much of what is found is shown."""

    deep: Annotated[
        bool, flag("--deep", help="Read every object that a row refers to: can it be decompressed and parsed?")
    ] = False
    only: Annotated[
        Optional[list[str]],
        flag(
            "--only",
            metavar="ID",
            autocompletion=suggest.one_of(suggest.findings),
            help="Look for these kinds of findings alone; repeatable.",
        ),
    ] = None
    examples: Annotated[
        int, flag("--examples", metavar="N", min=0, help="As a table, show so many findings of each kind.")
    ] = 3
    limit: Annotated[
        int, flag("--limit", metavar="N", min=0, help="Else show at most N findings, and count all; 0 is all.")
    ] = 0


@takes(Looking, Place, Control, Rows, Table, Display)
def fsck(looking: Looking, place: Place, control: Control, rows: Rows, table: Table, display: Display) -> ExitCode:
    """Find what is wrong with what is stored, and say what mends it. Changes nothing.

    Each finding has a severity: error (Airflow hands tasks something else than what was pushed), warning (that is
    near, or gc would refuse to work), info (worth knowing: orphans among them, those older than --older-than, 3 days
    by default). The objects are listed and the rows are read; --deep also reads each object. Without a base path only
    the rows are looked at. As a table findings are grouped by what they are, with the command that helps.

    Examples:

      xcomctl fsck
        All that is wrong, by kind, with the command that helps.

      xcomctl fsck --only dangling --dag-id 'etl_*' -o json
        One kind, of some DAGs, for a program.

      xcomctl fsck --deep --since 7d
        Reads every object of the last week as well.

      xcomctl fsck --only orphan --older-than 30d -o jsonl
        The orphans that are a month old, one a line.

    Exit status:

      0 2 10 12
      1  There is a finding of severity error.
    """
    said = report.start(display)
    from xcomctl import settings
    from xcomctl.operations.fsck import FIELDS, Check
    from xcomctl.operations.gc import scope_of

    questions = _questions(looking, rows)
    columns = table.chosen(FIELDS)
    deployment = opened(place, said, control=control.control)
    if questions.needs_storage_alone:
        deployment.required_base()
    wanted = deployment.base is not None and questions.needs_storage
    follows = questions.needs_plan
    scope = scope_of(deployment, settings.state_store_path(), follows=follows) if wanted else None
    if deployment.base is None:
        said.note("there is no base path: only rows are looked at", hint="--base-path, to look at objects as well")
    with said.progress() as watch:
        check = Check(deployment, scope, questions, watch)
        if render.chosen(display.output) is Output.TABLE and table.columns is None:
            render.write(_groups(check, looking.examples, display))
        else:
            shown = (asdict(finding) for finding in first(check.findings(), looking.limit, said))
            render.records(shown, columns, display.output, display.color, headers=table.headers)
            tell_counts(check.counts, said, "finding")
    return ExitCode.NO if check.fails else ExitCode.OK


def _questions(looking: Looking, rows: Rows) -> Questions:
    from xcomctl.operations.fsck import Kind, Questions
    from xcomctl.operations.gc import OLDER_THAN

    words = [word.strip() for each in looking.only or () for word in each.split(",")]
    kinds = frozenset(map(Kind, choose(words, [kind.value for kind in Kind], "--only"))) or None
    deep = looking.deep or bool(kinds and kinds & {Kind.CORRUPT, Kind.UNREADABLE})
    older_than = duration(rows.older_than, "--older-than") if rows.older_than else OLDER_THAN
    selected = rows.filter(datetime.now(timezone.utc))
    if State.DANGLING in selected.states:
        raise UsageError("what dangles is what fsck finds, and no state of a row", hint="--only dangling")
    return Questions(selected, kinds or frozenset(Kind), older_than, deep)


def _groups(check: Check, most: int, display: Display) -> str:
    """All that was found, by what it is, the worst first."""
    examples: dict[tuple[Kind, Severity], list[Finding]] = {}
    for finding in check.findings():
        some = examples.setdefault((finding.id, finding.severity), [])
        if len(some) < max(most, 1):
            some.append(finding)
    blocks = [_block(name, check, some, most, display) for name, some in severity_first(examples)]
    return "\n".join(blocks) if blocks or display.quiet else "nothing is wrong\n"


def _block(name: tuple[Kind, Severity], check: Check, examples: Sequence[Finding], most: int, display: Display) -> str:
    from xcomctl.backend.payload import visible
    from xcomctl.operations.fsck import ABOUT

    kind, severity = name
    tally = check.counts[name]
    size = f", {render.readable_size(tally.bytes)}" if tally.bytes else ""
    head = f"{severity.value} {kind.value}: {tally.count:,}{size}"
    shown = [_named(finding) for finding in examples[:most]]
    more = [f"… and {tally.count - len(shown):,} more"] if 0 < len(shown) < tally.count else []
    hints = list(dict.fromkeys(finding.hint for finding in examples))
    below = map(render.indented, (ABOUT[kind], *shown, *more))
    commands = [f"  help: {visible(hint)}" for hint in hints]  # each in one line, for whoever copies it
    return "\n".join([render.colored(head, COLORS[severity], display.color), *below, *commands, ""])


def _named(finding: Finding) -> str:
    from xcomctl.backend.payload import visible

    mapped = f"[{finding.map_index}]" if finding.map_index is not None and finding.map_index >= 0 else ""
    names = (finding.dag_id, finding.run_id, finding.task_id and finding.task_id + mapped, finding.key)
    words = " ".join(name for name in names if name) if finding.key is not None else finding.reference
    return visible(f"{words}: {finding.detail}" if words else finding.detail)
