"""What migration 0049 (`…_remove_pickled_data_from_xcom_table`) of each Airflow does to values before it casts them.

Upgrading from Airflow 2 to 3 turns `xcom.value` from bytes into JSON, by whichever version of the migration the new
Airflow brings. All move pickles to `_xcom_archive` first, and all end in the same cast; what they do to a text in
between is here, one value for each range of versions. The SQL is that of the wheels of apache-airflow-core 3.0.0 to
3.4.0b2; tests/upgrades has what it did to a corpus of values.
"""

from __future__ import annotations

from dataclasses import dataclass

TEXT = "{t}"
"""Stands in an expression for the text of a value."""


@dataclass(frozen=True, slots=True)
class Sanitising:
    """SQL expressions for what a text becomes.

    `always` is applied to every value; `mend` then to those that are no JSON, None where nothing is.
    """

    always: str = TEXT
    mend: str | None = None


@dataclass(frozen=True, slots=True)
class Treatment:
    """What the migration of some versions does, from `since` on.

    `nan` says what NaN and Infinity become, None where they stay; `removes_nul` whether `\\u0000` is taken out;
    `rewrites_all` whether every row is updated before the column is rewritten. `statements` are those that PostgreSQL
    gets before the cast, verbatim, with `__TABLE__` for the table.
    """

    since: tuple[int, int, int]
    postgresql: Sanitising
    mysql: Sanitising
    sqlite: Sanitising
    nan: str | None
    removes_nul: bool
    rewrites_all: bool
    statements: tuple[str, ...]

    @property
    def needs_mysql(self) -> bool:
        """Whether MariaDB does not understand it: its REGEXP_REPLACE takes three arguments, MySQL's six."""
        return "REGEXP_REPLACE" in self.mysql.always + (self.mysql.mend or "")


CAST = """
ALTER TABLE __TABLE__
ALTER COLUMN value TYPE JSONB
USING CASE
    WHEN value IS NOT NULL THEN CAST(CONVERT_FROM(value, 'UTF8') AS JSONB)
    ELSE NULL
END
"""
"""What every version ends with on PostgreSQL."""

_REPLACE_ALL = r"""
UPDATE __TABLE__
SET value = convert_to(replace(convert_from(value, 'UTF8'), 'NaN', '"nan"'), 'UTF8')
WHERE value IS NOT NULL AND get_byte(value, 0) != 128
"""

_REPLACE_NAN = r"""
UPDATE __TABLE__
SET value = convert_to(
    regexp_replace(
        convert_from(value, 'UTF8'),
        '([:,\[]\s*)NaN(\s*[,}\]])',
        '\1"nan"\2',
        'g'
    ),
    'UTF8'
)
WHERE value IS NOT NULL AND get_byte(value, 0) != 128
"""

_REPLACE_TOKENS = r"""
UPDATE __TABLE__
SET value = convert_to(
    regexp_replace(
        convert_from(value, 'UTF8'),
        '([:,\[]\s*|^)(NaN|-?Infinity)(?=\s*[,}\]]|$)',
        '\1"\2"',
        'g'
    ),
    'UTF8'
)
WHERE value IS NOT NULL AND get_byte(value, 0) != 128
"""

_STRIP_NUL = r"""
UPDATE __TABLE__
SET value = convert_to(
    replace(
        replace(
            replace(convert_from(value, 'UTF8'), '\\', chr(1)),
            '\u0000', ''
        ),
        chr(1), '\\'
    ),
    'UTF8'
)
WHERE value IS NOT NULL AND get_byte(value, 0) != 128
    AND position(convert_to('\u0000', 'UTF8') in value) > 0
"""

_NEEDS_NAN_FIX = r"""
CREATE OR REPLACE FUNCTION pg_temp._airflow_xcom_needs_nan_fix(txt text)
RETURNS boolean AS $$
BEGIN
    IF txt !~ '(NaN|Infinity)' THEN
        RETURN false;
    END IF;
    PERFORM txt::jsonb;
    RETURN false;
EXCEPTION WHEN others THEN
    RETURN true;
END;
$$ LANGUAGE plpgsql
"""

_MEND_TOKENS = r"""
UPDATE __TABLE__
SET value = convert_to(
    regexp_replace(
        convert_from(value, 'UTF8'),
        '([:,\[]\s*|^)(NaN|-?Infinity)(?=\s*[,}\]]|$)',
        '\1null',
        'g'
    ),
    'UTF8'
)
WHERE value IS NOT NULL AND get_byte(value, 0) != 128
    AND pg_temp._airflow_xcom_needs_nan_fix(convert_from(value, 'UTF8'))
"""

TREATMENTS = (
    Treatment(
        since=(3, 0, 0),
        postgresql=Sanitising(),
        mysql=Sanitising(),
        sqlite=Sanitising(),
        nan=None,
        removes_nul=False,
        rewrites_all=False,
        statements=(),
    ),
    Treatment(
        since=(3, 1, 0),
        postgresql=Sanitising("""replace({t}, 'NaN', '"nan"')"""),
        mysql=Sanitising("""REPLACE({t}, 'NaN', '"nan"')"""),
        sqlite=Sanitising("""REPLACE({t}, 'NaN', '"nan"')"""),
        nan='the string "nan"',
        removes_nul=False,
        rewrites_all=True,
        statements=(_REPLACE_ALL,),
    ),
    Treatment(
        since=(3, 1, 3),
        postgresql=Sanitising(r"""regexp_replace({t}, '([:,\[]\s*)NaN(\s*[,}\]])', '\1"nan"\2', 'g')"""),
        # The backslashes are as many as reach MySQL, and too few: apache/airflow has them so.
        mysql=Sanitising(
            r"""REGEXP_REPLACE({t}, '(:|,|\\[)[ ]*NaN[ ]*([,}\]])', '\\1"nan"\\2', 1, 0, 'c')""",
        ),
        sqlite=Sanitising("""REPLACE({t}, 'NaN', '"nan"')"""),
        nan='the string "nan"',
        removes_nul=False,
        rewrites_all=True,
        statements=(_REPLACE_NAN,),
    ),
    Treatment(
        since=(3, 1, 8),
        postgresql=Sanitising(
            r"""regexp_replace({t}, '([:,\[]\s*|^)(NaN|-?Infinity)(?=\s*[,}\]]|$)', '\1"\2"', 'g')"""
        ),
        mysql=Sanitising(
            r"""REGEXP_REPLACE({t}, '(:|,|\\[|^)[ ]*(NaN|-?Infinity)(?=[ ]*[,}\\]]|$)', '$1"$2"', 1, 0, 'c')""",
        ),
        sqlite=Sanitising(
            """REPLACE(REPLACE(REPLACE({t}, 'NaN', '"NaN"'), 'Infinity', '"Infinity"'),"""
            """ '-"Infinity"', '"-Infinity"')"""
        ),
        nan="a string of that name",
        removes_nul=False,
        rewrites_all=True,
        statements=(_REPLACE_TOKENS,),
    ),
    Treatment(
        since=(3, 3, 2),
        postgresql=Sanitising(
            r"""CASE WHEN strpos({t}, '\u0000') > 0"""
            r""" THEN replace(replace(replace({t}, '\\', chr(1)), '\u0000', ''), chr(1), '\\') ELSE {t} END""",
            r"""regexp_replace({t}, '([:,\[]\s*|^)(NaN|-?Infinity)(?=\s*[,}\]]|$)', '\1null', 'g')""",
        ),
        mysql=Sanitising(
            r"""CASE WHEN LOCATE('\\u0000', {t}) > 0"""
            r""" THEN REPLACE(REPLACE(REPLACE({t}, '\\\\', CHAR(1)), '\\u0000', ''), CHAR(1), '\\\\') ELSE {t} END""",
            r"""REGEXP_REPLACE({t}, '([:,\\[][ ]*|^)(NaN|-?Infinity)(?=[ ]*[,}\\]]|$)', '$1null', 1, 0, 'c')""",
        ),
        sqlite=Sanitising(
            r"""CASE WHEN instr({t}, '\u0000') > 0"""
            r""" THEN REPLACE(REPLACE(REPLACE({t}, '\\', char(1)), '\u0000', ''), char(1), '\\') ELSE {t} END""",
            """REPLACE(REPLACE(REPLACE({t}, '-Infinity', 'null'), 'Infinity', 'null'), 'NaN', 'null')""",
        ),
        nan="null",
        removes_nul=True,
        rewrites_all=False,
        statements=(_STRIP_NUL, _NEEDS_NAN_FIX, _MEND_TOKENS),
    ),
)
"""Ordered by version. 3.0.4 differs from 3.0.0 by a longer statement_timeout only."""

LAST_READ = {(3, 0): (3, 0, 6), (3, 1): (3, 1, 8), (3, 2): (3, 2, 2), (3, 3): (3, 3, 2), (3, 4): (3, 4, 0)}
"""Of each minor version the last patch whose wheel was read."""

PRE_RELEASES = {(3, 4, 0): "3.4.0b2"}
"""Of those the ones that were not released then, and what was read of them."""


def treatment_of(version: tuple[int, int, int]) -> Treatment:
    """The newest treatment that is not newer than a version, which must not be older than the first."""
    return next(each for each in reversed(TREATMENTS) if each.since <= version)
