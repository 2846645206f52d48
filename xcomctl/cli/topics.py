"""The help topics: what is true of several commands, read off the commands, the exit codes and the row fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from xcomctl import settings
from xcomctl.cli.manual import Page, manual_of
from xcomctl.cli.options import Output
from xcomctl.errors import SIGNALS, ExitCode
from xcomctl.model import State

AIRFLOWS = {
    settings.DATABASE_ENV: "The metadata database, where neither --db nor XCOMCTL_DB says it.",
    settings.SCHEMA_ENV: "The schema of its tables, where --db-schema does not.",
    settings.BASE_PATH_ENV: "Where external XComs are, where --base-path does not.",
    settings.THRESHOLD_ENV: "From which size on migrate moves values, where --threshold does not.",
    settings.COMPRESSION_ENV: "What migrate compresses objects with, where --compression does not.",
    settings.STATE_STORE_ENV: "Where Airflow's state stores are, which gc keeps clear of.",
    "AIRFLOW_HOME, AIRFLOW_CONFIG": "Where airflow.cfg is: the source of whatever nothing above says.",
    "AIRFLOW_CONN_…": "A connection that a base path names, such as s3://my_conn@bucket.",
}
"""Airflow's own variables that are read, and what for."""

COMMON = {
    "NO_COLOR": "If it is not empty, nothing is coloured, unless --color always says so.",
    "FORCE_COLOR": "If it is not empty, colours off a terminal too.",
    "COLUMNS": "How wide help and tables are.",
}


FORMATS = {
    Output.AUTO: "A table on a terminal, plain off it.",
    Output.TABLE: "For people.",
    Output.PLAIN: "One row a line, tabs between the fields; `get` shows JSON here.",
    Output.JSON: "One document.",
    Output.JSONL: "One JSON value a line, as it comes.",
    Output.CSV: "With a header; for rows, and for values that are a DataFrame or a list of objects.",
    Output.YAML: "One document.",
}

STATES = {
    State.INLINE: "The value is in the row.",
    State.EXTERNAL: "It is in storage, and Airflow follows the reference.",
    State.FOREIGN: "A reference that Airflow, as configured, does not follow: the task gets the URL.",
    State.PICKLED: "A pickle of Airflow 2, which is never loaded.",
    State.DANGLING: "Its object is gone; told only with --check.",
}

SHAPES = {
    "ls, du, fsck, preflight, verify-backend": "An array, with an object for each row, group, finding or check; also "
    "gc --history, and --explain.",
    "get": "The value itself.",
    "gc, migrate, rm, restore": "One report: `schema`, `command`, `operation_id`, `dry_run`, `status` (success, "
    "partial, refused, error), every count with its `_bytes`, `failures` (each `code`, its names, `message`) and "
    "`refusals` (each `gate`, `message`). It is printed with exit codes 3 and 5 too.",
}


@dataclass(frozen=True, slots=True)
class Topic:
    """A page of help. It is made of the command tree."""

    summary: str
    write: Callable[[Page, Any], None]

    def page(self, tree: Any) -> str:
        """The page as text."""
        page = Page()
        page.line(self.summary)
        self.write(page, tree)
        return page.text


def flags(tree: Any) -> Iterator[tuple[str, Any]]:
    """Every flag of every command, with the command's name."""
    for name, command in tree.commands.items():
        yield from ((name, each) for each in command.params if each.param_type_name == "option")


def _environment(page: Page, tree: Any) -> None:
    page.paragraph(
        "What the command line says counts first, then its variable, then Airflow's own configuration. A flag that "
        "takes no value is set by 1, true or yes. A flag that can be repeated takes several values with spaces "
        "between them. Flags that lift a safety have no variable: they must be said anew each time."
    )
    by_panel: dict[str, dict[str, list[str]]] = {}
    for command, flag in flags(tree):
        if flag.envvar:
            panel = getattr(flag, "rich_help_panel", None) or "What else single commands take"
            by_panel.setdefault(panel, {}).setdefault(flag.envvar, []).append(command)
    told: set[str] = set()
    for panel, variables in by_panel.items():
        fresh = {name: commands for name, commands in variables.items() if name not in told}
        if fresh:
            page.heading(panel)
            page.terms((name, _takers(name, tree)) for name in fresh)
        told |= fresh.keys()
    page.heading("Airflow's own")
    page.terms(AIRFLOWS.items())
    page.heading("Everybody's")
    page.terms(COMMON.items())


def _takers(variable: str, tree: Any) -> str:
    """The flag that listens to a variable, and the commands that have it."""
    found = [(command, flag) for command, flag in flags(tree) if flag.envvar == variable]
    name = max(found[0][1].opts, key=len)
    return f"{name} of {', '.join(command for command, _ in found)}"


def _exit_codes(page: Page, tree: Any) -> None:
    page.paragraph("Every command answers with one of these; its own help says which, and when.")
    page.heading("Exit codes")
    page.terms((str(int(code)), code.meaning) for code in ExitCode)
    page.heading("Who answers with which")
    codes = {name: manual_of(command.help or "").exits for name, command in tree.commands.items()}
    page.terms((name, ", ".join(str(int(code)) for code in exits)) for name, exits in codes.items())
    page.paragraph(f"And each with {', '.join(str(int(code)) for code in SIGNALS)}.")
    page.paragraph(
        "2 is decided before anything is read. Then, in this order: 10, 12, 11, 5. After the first change only 0, 3 "
        "or a signal's code. A dry run ends as the real run would. 1 with a hint at --debug is a fault of xcomctl "
        "itself. New codes may be added: take an unknown one for a failure."
    )


def _output(page: Page, tree: Any) -> None:
    from xcomctl.operations.listing import ARCHIVE_FIELD, FIELDS, ROW_FIELDS

    page.paragraph(
        "stdout has the data and nothing else; notes, progress, questions and errors go to stderr. An error is one "
        "line of what and why and one `hint:` line of what to do. With -q a success says nothing on stderr, and an "
        "acting command prints no report."
    )
    page.heading("Formats, by -o")
    page.terms((form.value, words) for form, words in FORMATS.items())
    page.heading("Fields of ls, for --columns and --sort")
    objects = [name for name in FIELDS if name not in ROW_FIELDS]
    page.terms(
        [("always", ", ".join(ROW_FIELDS)), ("with --check", ", ".join(objects)), ("with --archive", ARCHIVE_FIELD)]
    )
    page.heading("The field `state`")
    page.terms((state.value, words) for state, words in STATES.items())
    page.heading("The shape of JSON")
    page.terms(SHAPES.items())
    page.heading("Terminals")
    page.paragraph(
        "A table is as wide as the terminal, folds what is too long, leaves out columns that say nothing or that ls "
        "and du can spare there (--columns names what must stay), and says sizes as 1.9 MiB. Off a terminal "
        "nothing is shortened: plain has tabs between its fields, no header, and writes a tab, newline or backslash "
        "in a value as \\t, \\n, \\\\. ls shows 50 rows on a terminal and all off it; --limit says otherwise. "
        "Colours are for terminals alone, and not where NO_COLOR is set or TERM is dumb; FORCE_COLOR wants them "
        "everywhere; --color always or never decides it. Sizes in bytes and times in ISO 8601, in UTC, are what "
        "programs get."
    )


def _gc(page: Page, tree: Any) -> None:
    for title, paragraphs in GC.items():
        if title:
            page.heading(title)
        for paragraph in paragraphs:
            page.paragraph(paragraph)
    page.heading("Try it")
    for line, what in manual_of(tree.commands["gc"].help or "").examples:
        page.example(line, what)
    page.paragraph(
        "`xcomctl gc --help` has the options. What each gate guards, and why all that is safe, is in docs/gc.md."
    )


GC = {
    "": [
        "Airflow writes an object first and its row later, and uses an object's name once. So an object that was "
        "listed before the rows were read, that is older than any write lasts, and that no row mentions, never gets "
        "a row: it is an orphan.",
    ],
    "A run": [
        "It lists every object under the base path, and then reads all rows that may hold a reference: XComs of "
        "every attempt, the state stores, the archives, of every --db. What no row refers to, has a name that only "
        "an XCom backend makes, and is older than --older-than (3 days) by the store's clock, is marked.",
        "A run that begins at least --confirm-after (20 hours) after the first one ended, and sees the same object "
        "unreferenced again, deletes it: so one line in cron is all. --single-pass does without the second sighting, "
        "for objects of 7 days and more.",
        "Batch by batch it looks at the rows once more, and deletes only what is still the object that was listed.",
    ],
    "Windows": [
        "--older-than and --confirm-after have floors (a day, an hour), and so has --keep-trash (a day). Only "
        "--unsafe-windows lifts them, which is for tests.",
    ],
    "Gates": [
        "In doubt a run changes nothing and ends with exit code 5: a schema that is not known, a replica, clocks "
        "that differ, a database that has gone back, another deployment's claim, rows and objects that do not "
        "overlap, too many dangling references, more to delete than --max-delete. It says which gate is shut; "
        "--allow GATE lifts one, once.",
    ],
    "The way back": [
        "`xcomctl restore OPERATION_ID` undoes one run: by the bucket's own versions, or from the trash, which is "
        "kept for --keep-trash (14 days). `xcomctl gc --history` lists the runs. What a row refers to again comes "
        "back by itself at the next run. Marks, audit and trash lie in the control folder beside the base path: cron "
        "in a fresh pod needs no disk.",
    ],
}

TOPICS = {
    "environment": Topic("Every environment variable that xcomctl listens to.", _environment),
    "exit-codes": Topic("What each exit code says, and who answers with it.", _exit_codes),
    "output": Topic("Formats, columns, the shapes of JSON, terminals and colours.", _output),
    "gc": Topic("How gc decides what goes, in a page.", _gc),
}
