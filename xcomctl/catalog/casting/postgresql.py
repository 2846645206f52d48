"""PostgreSQL is asked by the migration's own expressions: for a page in one SELECT, for a row in a PL/pgSQL block.

The block is anonymous (DO), so that it needs no right to create anything and runs on a standby too. It is told which
rows are meant, and tells what it found, by settings that end with the transaction.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from xcomctl.catalog.casting.terms import READ_BYTES, Failure, Verdict
from xcomctl.catalog.catalog import Row
from xcomctl.catalog.database import Database
from xcomctl.catalog.engine import connected
from xcomctl.catalog.treatments import TEXT, Treatment

LARGE_BYTES = 200_000_000
"""Above this a value is tried by itself: JSONB ends at 268,435,455 bytes, and so do regular expressions."""

_NUMBER = (
    r"(position('e+'::bytea in value) > 0 AND t ~ '(^|[:,\[\s])-?\d[\d.]*e\+\d+(?=\s*[,}\]]|\s*$)'"
    r" OR position('-0.0'::bytea in value) > 0 AND t ~ '(^|[:,\[\s])-0\.0+(?=\s*[,}\]]|\s*$)')"
)
"""JSONB keeps neither the form of a number with an exponent nor the sign of zero.

Both are looked for in the spelling of Python's json, which wrote the values of Airflow 2; first among the bytes, which
takes a quarter of the time that it takes among letters.
"""

_DOUBTFUL = r"""
CASE
    WHEN x.value IS NULL THEN false
    WHEN octet_length(x.value) = 0 OR octet_length(x.value) > __LARGE__ THEN true
    WHEN substring(x.value, 1, 1) = '\x80'::bytea THEN true
    ELSE (
        SELECT CASE WHEN __SIGNS__ THEN true ELSE CAST(t AS jsonb) IS NULL OR __NUMBER__ END
        FROM (SELECT x.value, convert_from(x.value, 'UTF8') AS t OFFSET 0) AS once
    )
END
"""
"""OFFSET 0 keeps PostgreSQL from writing `convert_from` in every place of t, and reading the value as often."""

SIGNS = ("NaN", "Infinity", r"\\u0000")
"""What a text has that the migration may change before it casts it."""

_TRIAL = r"""
DO $xcomctl$
DECLARE
    asked record;
    value bytea;
    original text;
    t text;
    pickled boolean;
    was_json boolean;
    altered boolean;
    nul boolean;
    token boolean;
    mended boolean;
    respelled boolean;
    state text;
    said text;
    more text;
    verdicts text[] := '{}';
BEGIN
    FOR asked IN
        SELECT * FROM jsonb_to_recordset(current_setting('xcomctl.asked')::jsonb)
            AS each(number int, dag_run_id int, task_id text, map_index int, key text)
    LOOP
        SELECT x.value INTO value FROM __TABLE__ AS x
            WHERE x.dag_run_id = asked.dag_run_id AND x.task_id = asked.task_id
            AND x.map_index = asked.map_index AND x.key = asked.key;
        CONTINUE WHEN NOT FOUND;
        original := NULL; t := NULL;
        pickled := false; was_json := true; nul := false; token := false; respelled := false;
        state := ''; said := ''; more := '';
        BEGIN
            IF value IS NOT NULL THEN
                pickled := get_byte(value, 0) = 128;
            END IF;
            IF NOT pickled THEN
                original := convert_from(value, 'UTF8');
                t := original;
                nul := strpos(t, '\u0000') > 0;
                token := strpos(t, 'NaN') > 0 OR strpos(t, 'Infinity') > 0;
                IF nul OR token OR octet_length(t) > __LARGE__ THEN
                    t := __ALWAYS__;
                    BEGIN
                        mended := false;
                        IF __MENDS__ AND t ~ '(NaN|Infinity)' THEN
                            PERFORM t::jsonb;
                        END IF;
                    EXCEPTION WHEN others THEN
                        mended := true;
                    END;
                    IF mended THEN
                        t := __MEND__;
                    END IF;
                END IF;
                PERFORM t::jsonb;
                respelled := coalesce(__NUMBER__, false);
            END IF;
        EXCEPTION WHEN others THEN
            GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, said = MESSAGE_TEXT, more = PG_EXCEPTION_DETAIL;
            IF state !~ '^(22|54|XX|53200)' THEN
                RAISE;
            END IF;
        END;
        altered := t IS DISTINCT FROM original;
        BEGIN
            IF altered THEN
                PERFORM original::jsonb;
            END IF;
        EXCEPTION WHEN others THEN
            was_json := false;
        END;
        verdicts := array_append(verdicts, json_build_object(
            'number', asked.number, 'pickled', pickled, 'state', state, 'message', said, 'detail', more,
            'was_json', was_json, 'altered', altered, 'nul', nul, 'token', token, 'respelled', respelled,
            'value', CASE
                WHEN octet_length(value) <= __READ__ AND (pickled OR altered OR respelled OR state <> '')
                THEN encode(value, 'hex')
            END
        )::text);
    END LOOP;
    PERFORM set_config('xcomctl.found', '[' || array_to_string(verdicts, ',') || ']', true);
END
$xcomctl$
"""
"""Like the migration it applies `always`, and `mend` only to what then is no JSON and has a token.

Only what concerns the value itself is a verdict: an error such as a lock or a missing right is raised. The states are
those of data (22), of limits (54), of memory (53200) and PostgreSQL's own (XX: too long for a regular expression).
"""


class PostgresTrial:
    """Values of a PostgreSQL database, and what a version of the migration makes of them."""

    def __init__(self, database: Database, treatment: Treatment) -> None:
        self._database = database
        self._treatment = treatment

    @property
    def doubtful(self) -> Sequence[str]:
        """SQL conditions on `x.value` that are false for harmless values alone; others may make them fail.

        The first looks only for what is changed though it is JSON, which is faster, and fails on what is none; the
        second takes any sign for doubtful, and fails on what is JSON in no way.
        """
        changed = [sign for sign in SIGNS[:2] if sign in self._treatment.postgresql.always]
        return _doubtful(changed), _doubtful(SIGNS)

    def verdicts(self, rows: Sequence[Row]) -> list[Verdict | None]:
        """What becomes of each row; None for one that is gone. Needs PL/pgSQL, and no right but to read."""
        if not rows:
            return []
        with connected(self._database.engine) as connection:
            connection.execute(*asking(rows))
            connection.exec_driver_sql(self._block())
            told = connection.exec_driver_sql("SELECT current_setting('xcomctl.found')").scalar()
        found = {each["number"]: _verdict(each) for each in json.loads(told or "[]")}
        return [found.get(number) for number in range(len(rows))]

    def unchecked(self) -> Sequence[str]:
        """What could make this upgrade fail or change a value, and was not looked for."""
        return ("numbers spelled 1e16 or 1E16, which Python never writes so, and which become integers",)

    def obstacle(self) -> str | None:
        """Why the upgrade fails whatever the rows are: nothing does here."""
        return None

    def _block(self) -> str:
        sanitising = self._treatment.postgresql
        return (
            _TRIAL.replace("__TABLE__", self._database.table_name("xcom"))
            .replace("__LARGE__", str(LARGE_BYTES))
            .replace("__READ__", str(READ_BYTES))
            .replace("__ALWAYS__", sanitising.always.replace(TEXT, "t"))
            .replace("__MENDS__", "true" if sanitising.mend else "false")
            .replace("__MEND__", (sanitising.mend or TEXT).replace(TEXT, "t"))
            .replace("__NUMBER__", _NUMBER)
        )


def _doubtful(signs: Sequence[str]) -> str:
    found = " OR ".join(f"position('{sign}'::bytea in value) > 0" for sign in signs) or "false"
    return _DOUBTFUL.replace("__SIGNS__", found).replace("__NUMBER__", _NUMBER).replace("__LARGE__", str(LARGE_BYTES))


def asking(rows: Sequence[Row]) -> tuple[Any, dict[str, str]]:
    """The statement that says which rows are meant, in this transaction, and its parameters."""
    from sqlalchemy import text

    names = ("dag_run_id", "task_id", "map_index", "key")
    asked = [{"number": number, **dict(zip(names, row.key, strict=True))} for number, row in enumerate(rows)]
    return text("SELECT set_config('xcomctl.asked', :asked, true)"), {"asked": json.dumps(asked)}


def _is_unequal(value: bytes) -> bool:
    """Whether Python reads another number in what JSONB makes of a value: a whole one loses its exponent, an int then.

    >>> _is_unequal(b"[1e+16]"), _is_unequal(b"[1e+23]")
    (False, True)
    """
    unequal = False

    def compared(digits: str) -> float:
        nonlocal unequal
        exact = Decimal(digits)
        if exact == exact.to_integral_value() and "." not in format(exact, "f"):
            unequal |= exact != Decimal(float(digits))
        return 0.0

    try:
        json.loads(value, parse_float=compared, parse_int=len)
    except (ValueError, ArithmeticError, RecursionError):
        return False
    return unequal


def _verdict(told: dict[str, Any]) -> Verdict:
    failed = bool(told["state"])
    value = bytes.fromhex(told["value"]) if told["value"] is not None else None
    return Verdict(
        pickled=told["pickled"],
        failure=Failure(told["message"], told["detail"], told["state"]) if failed else None,
        was_json=told["was_json"],
        altered=told["altered"],
        nul=told["nul"],
        token=told["token"],
        value=value,
        respelled=told["respelled"],
        unequal=bool(told["respelled"] and value is not None and _is_unequal(value)),
    )
