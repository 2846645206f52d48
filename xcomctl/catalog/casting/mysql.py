"""MySQL is asked by the migration's own expressions, and JSON_VALID: there nothing fails but what is no JSON.

MariaDB takes the migration only as far as it has no regular expression of six arguments.
"""

from __future__ import annotations

from collections.abc import Sequence

from xcomctl.catalog.casting.rowwise import RowByRow
from xcomctl.catalog.casting.terms import Failure, Verdict
from xcomctl.catalog.catalog import Row

_DOUBTFUL = r"""
x.value IS NOT NULL AND (
    HEX(SUBSTRING(x.value, 1, 1)) = '80' OR LENGTH(x.value) > @@max_allowed_packet
    OR LOCATE('NaN', x.value) > 0 OR LOCATE('Infinity', x.value) > 0 OR LOCATE('\\u0000', x.value) > 0
    OR JSON_VALID(CONVERT(x.value USING utf8mb4)) IS NOT TRUE
    OR CONVERT(CONVERT(x.value USING utf8mb4) USING BINARY) <> x.value
)
"""

_TRIAL = r"""
SELECT HEX(SUBSTRING(value, 1, 1)) = '80', LENGTH(value) > @@max_allowed_packet, CONVERT(t USING BINARY) = value,
    JSON_VALID(t), LOCATE('\\u0000', t) > 0, LOCATE('NaN', t) > 0 OR LOCATE('Infinity', t) > 0,
    CONVERT(sanitised USING BINARY) <> CONVERT(t USING BINARY),
    JSON_VALID(sanitised), CASE WHEN LENGTH(value) <= __READ__ THEN value END
FROM (SELECT value, t, CASE WHEN JSON_VALID(s) THEN s ELSE __MEND__ END AS sanitised FROM (
    SELECT value, t, __ALWAYS__ AS s FROM (
        SELECT x.value, CONVERT(x.value USING utf8mb4) AS t FROM __TABLE__ AS x
        WHERE x.dag_run_id = :run AND x.task_id = :task AND x.map_index = :map AND x.`key` = :key
    ) AS a) AS b) AS c
"""


class MysqlTrial(RowByRow):
    """Values of a MySQL or MariaDB database, and what a version of the migration makes of them."""

    @property
    def doubtful(self) -> Sequence[str]:
        """An SQL condition on `x.value` that is false for harmless values alone."""
        return (_DOUBTFUL,)

    def unchecked(self) -> Sequence[str]:
        """What could make this upgrade fail or change a value, and was not looked for."""
        return (
            "numbers that the database's JSON keeps in another form",
            "JSON that is nested more deeply than the database takes, where JSON_VALID does not tell",
            "the cast itself: only JSON_VALID was asked, of the text that the migration would cast",
        )

    def obstacle(self) -> str | None:
        """Why the upgrade fails whatever the rows are, or None."""
        if getattr(self._database.engine.dialect, "is_mariadb", False) and self._treatment.needs_mysql:
            return "MariaDB does not understand the REGEXP_REPLACE with six arguments that this migration runs"
        return None

    def _verdict(self, row: Row) -> Verdict | None:
        facts = self._asked(_TRIAL, self._treatment.mysql, row)
        if facts is None:
            return None
        pickled, too_large, is_utf8, was_json, nul, token, altered, becomes_json = map(bool, facts[:-1])
        value = facts[-1]
        if pickled:
            return Verdict(pickled=True, value=value)
        failure = _failure(too_large=too_large, is_utf8=is_utf8, becomes_json=becomes_json)
        return Verdict(failure=failure, was_json=was_json, altered=altered, nul=nul, token=token, value=value)


def _failure(*, too_large: bool, is_utf8: bool, becomes_json: bool) -> Failure | None:
    if too_large:
        return Failure("longer than max_allowed_packet", state="54000")
    if not is_utf8:
        return Failure("Invalid utf8mb4 character string", state="22021")
    return None if becomes_json else Failure("Invalid JSON text")
