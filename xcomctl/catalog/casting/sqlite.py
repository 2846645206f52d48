"""SQLite is asked by the migration's own expressions, row by row: it stops at the first text that is no JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from xcomctl.catalog.casting.rowwise import RowByRow
from xcomctl.catalog.casting.terms import Failure, Verdict
from xcomctl.catalog.catalog import Row
from xcomctl.errors import MetadataError

MALFORMED = "malformed JSON"

_DOUBTFUL = r"""
x.value IS NOT NULL AND CASE
    WHEN hex(substr(x.value, 1, 1)) = '80' OR NOT json_valid(CAST(x.value AS TEXT)) THEN 1
    WHEN instr(CAST(x.value AS TEXT), 'NaN') OR instr(CAST(x.value AS TEXT), 'Infinity')
        OR instr(CAST(x.value AS TEXT), '\u0000') THEN 1
    ELSE json_type(CAST(x.value AS TEXT)) IN ('integer', 'real')
END
"""

_SANITISED = """
(SELECT t, CASE WHEN json_valid(s) THEN s ELSE __MEND__ END AS sanitised FROM (
    SELECT t, __ALWAYS__ AS s FROM (
        SELECT CAST(x.value AS TEXT) AS t FROM __TABLE__ AS x
        WHERE x.dag_run_id = :run AND x.task_id = :task AND x.map_index = :map AND x.key = :key)))
"""
_PICKLED = """
SELECT hex(substr(x.value, 1, 1)) = '80', CASE WHEN length(x.value) <= __READ__ THEN x.value END FROM __TABLE__ AS x
WHERE x.dag_run_id = :run AND x.task_id = :task AND x.map_index = :map AND x.key = :key
"""
_BEFORE = r"""
SELECT json_valid(t), instr(t, '\u0000') > 0, instr(t, 'NaN') OR instr(t, 'Infinity'), t IS NOT sanitised
FROM __SANITISED__
""".replace("__SANITISED__", _SANITISED)
_AFTER = """
SELECT length(json(sanitised)), json_type(sanitised) IN ('integer', 'real') AND (
    typeof(CAST(sanitised AS NUMERIC)) <> json_type(sanitised)
    OR abs(CAST(sanitised AS NUMERIC)) > 1.7976931348623157e308
) FROM __SANITISED__
""".replace("__SANITISED__", _SANITISED)
"""A number by itself goes through the affinity of the column, which is that of numbers: 2.0 becomes 2."""


LARGEST = 2**63
"""From here on an integer by itself becomes a float in SQLite."""


class SqliteTrial(RowByRow):
    """Values of an SQLite database, and what a version of the migration makes of them."""

    @property
    def doubtful(self) -> Sequence[str]:
        """An SQL condition on `x.value` that is false for harmless values alone."""
        return (_DOUBTFUL,)

    def unchecked(self) -> Sequence[str]:
        """What could make this upgrade fail or change a value, and was not looked for."""
        return (
            "whether the SQLite that Airflow uses reads JSON as this one does: its version decides",
            "bytes that are no UTF-8 inside of strings: SQLite takes them, and Airflow 3 cannot read them",
            "Airflow's other migrations: from 2.11 to 3.3.2 they were seen to empty task_instance and xcom on SQLite",
        )

    def obstacle(self) -> str | None:
        """Why the upgrade fails whatever the rows are: nothing does here."""
        return None

    def _verdict(self, row: Row) -> Verdict | None:
        first = self._asked(_PICKLED, self._treatment.sqlite, row)
        if first is None or first[0] is None:
            return None
        pickled, value = first
        if pickled:
            return Verdict(pickled=True, value=value)
        was_json, nul, token, altered = map(bool, self._asked(_BEFORE, self._treatment.sqlite, row) or (1, 0, 0, 0))
        before = Verdict(was_json=was_json, altered=altered, nul=nul, token=token, value=value)
        try:
            _, respelled = self._asked(_AFTER, self._treatment.sqlite, row) or (0, 0)
        except MetadataError as error:
            if MALFORMED not in error.message:
                raise
            return replace(before, failure=Failure(MALFORMED))
        return replace(before, respelled=bool(respelled), unequal=bool(respelled and _is_unequal(value)))


def _is_unequal(value: bytes | None) -> bool:
    """Whether a number by itself becomes another one: an integer that SQLite takes for a float."""
    text = (value or b"").strip().removeprefix(b"-")
    return text.isdigit() and (len(text) > len(str(LARGEST)) or int(text) >= LARGEST)
