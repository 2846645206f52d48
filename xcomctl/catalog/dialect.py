"""What each database calls the same thing. One value a database, found by the name of its dialect.

The expressions are evaluated by the database row by row, so their order matters: the size comes first, by a function
that leaves a large value where it is, and only a small value is looked into.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import reduce
from itertools import chain
from typing import TYPE_CHECKING, Any

from xcomctl.catalog.engine import READS_AT_ONCE
from xcomctl.catalog.schema import Form

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine
    from sqlalchemy.sql import ColumnElement

GUARD_BYTES = 8192
"""Above this stored size a JSON or text value is not looked into.

An object's URL is shorter: S3 and GCS keys have at most 1024 bytes, a local path 4096. Reading every value of a
PostgreSQL table took 6 times as long, since the large ones lie out of line, compressed (TOAST).
"""

GUARD_ESCAPED_BYTES = 24 * 1024
"""The same where the text is stored as it was written, and JSON may spell a two-byte letter in six."""

JSONB_SHRINKS = 6
"""How many times as long the text of a JSONB value can be: a control character takes six letters."""

TAB = "\t"
ISO_SECONDS = 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"'
ISO_MICROSECONDS = 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'
AIRFLOWS_TIME = f"????-??-?? ??:??:??.{'[0-9]' * 6}"
"""How SQLAlchemy writes a time into SQLite, as GLOB finds it."""

PICKLE = b"\x80"
MENTIONS = ("%-4___-____-____________%", "%-________-____-____-____-____________%")
"""What LIKE finds in a value that holds the end of a reference: a uuid4, or the folder of an attempt. Both are letters
that no writer of JSON escapes, as some do with `/`, so a broken, pickled or nested value shows them as well."""

if TYPE_CHECKING:
    Column = ColumnElement[Any]
    OfValue = Callable[[Column, Form], Column]


@dataclass(frozen=True, slots=True)
class Dialect:
    """`size` is the stored size in bytes, `is_string` whether a small value is a JSON string, `whole` what to select
    to get a value's text or bytes, `first_byte` compares a value's first byte, `contains` is LIKE on its text,
    `starts_with` compares the beginning of that text, which must be ASCII, `begins` also that it goes on, with none of
    some letters, and `is_plain` tells whether all of it is a JSON string in which every letter stands for itself.
    `may_be_url` tells whether a JSON string may begin with a scheme and a slash, or be encoded once more, told by its
    text or, where it was `decoded`, by what it stands for. `decoded` is what a JSON string stands for, None where its
    text is as quickly told. `name` is a column of names so that no two that differ are grouped together; `day` is the
    date in UTC of a time, as text; `bound` is what times are compared with, and `stamp` is a time as a driver reads it
    fast, which may be as text.

    For lines that the database writes: `moment` is a time in UTC as Python's `isoformat` spells it, NULL where it is
    not stored as Airflow stores it; `digits` are the bytes of what `whole` gives, in hexadecimal; `letters` is what
    `told_string` gave, without quotes, where that is plain; `line` is some columns joined by tabs, NULL where one is,
    and `pasted` one column of many rows in their order, joined by what is given, None where rows are as quickly read;
    `as_indexed` makes a planner read a page in the order of its index, rather than sort it.

    For rows that change: `text_size` is the size in bytes of the text that `whole` gives, which may mean to read the
    value; `space` what the value takes on disk; `digest` is the SHA-256 of that text, in hexadecimal digits; `stored`
    makes a value of a JSON text, in the form of bytes of these, and `kept` is the text that it gives back, None where
    that is the same; `clock` is the time in UTC while a statement runs, not when it began. `reclaim` is the statement
    that gives space back.
    """

    size: OfValue
    is_string: OfValue
    whole: OfValue
    first_byte: Callable[[Column, bytes], Column]
    starts_with: Callable[[Column, Form, str], Column]
    begins: Callable[[Column, Form, str, str], Column]
    is_plain: OfValue
    may_be_url: OfValue
    decoded: OfValue | None
    name: Callable[[Column], Column]
    day: Callable[[Column], Column]
    contains: Callable[[Column, Form, str], Column]
    bound: Callable[[datetime], object]
    tells_time: Callable[[Column], Column] | None
    """Whether a time compares with such a bound as it should; None where every one does."""
    stamp: Callable[[Column], Column]
    moment: Callable[[Column], Column]
    digits: OfValue
    letters: OfValue
    line: Callable[[Sequence[Column]], Column]
    pasted: Callable[[Column, str], Column] | None
    as_indexed: str | None
    pages_at_once: int
    """How many pages are asked for at a time: SQLite's threads stand in each other's way."""
    text_size: OfValue
    space: OfValue
    digest: OfValue
    stored: Callable[[Column, Form], Column]
    kept: Callable[[str, Form], Column] | None
    clock: Callable[[], Column]
    digests_whole: bool
    """Whether `digest` is of nothing but what `whole` gives, as UTF-8: then it need not be asked for."""
    is_compressed: Callable[[Column], Column] | None
    """Whether JSON is stored smaller than its text for being compressed; None where it is stored as text."""
    stores_json_parsed: bool
    compares_times: bool
    all_letters: bool
    """Whether a column of names can be compared with any text. Airflow's are utf8mb3 on MySQL, which fails on 😀."""
    has_arrays: bool
    """Then many names are looked up by an index where they are arrays, and not where they are a list of rows."""
    reclaim: str

    def can_hold(self, name: str) -> bool:
        """Whether a column of names may be asked for this one."""
        return self.all_letters or all(letter <= "\uffff" for letter in name)

    def small_string(self, value: Column, form: Form, *, pickled: bool = False) -> Column:
        """The value where it is a string that could be a reference, or with `pickled` any pickle, else NULL."""
        from sqlalchemy import or_

        is_string = self.is_string(value, form)
        return self._small(value, form, or_(is_string, self.is_pickle(value, form)) if pickled else is_string)

    def told_string(self, value: Column, form: Form) -> Column:
        """The same where the state is to be told by it: what the string stands for if the database `decodes` it."""
        return self._small(value, form, self.is_string(value, form), self.decoded)

    def decodes(self, form: Form) -> bool:
        """Whether `told_string` gives what a JSON string stands for, and not its text."""
        return self.decoded is not None and form is Form.JSON

    def small_odd_string(self, value: Column, form: Form) -> Column:
        """The value where it is a small string that holds a URL, or a string of JSON itself, else NULL."""
        from sqlalchemy import and_, or_

        is_odd = or_(self.starts_with(value, form, '"\\"'), self.contains(value, form, "%://%"))
        return self._small(value, form, and_(self.is_string(value, form), is_odd))

    def small_mention(self, value: Column, form: Form) -> Column:
        """The value, of whatever form, where it may mention an object of an XCom backend by its name, else NULL."""
        return self._small(value, form, self._may_mention(value, form))

    def mentions(self, value: Column, form: Form, more: Sequence[str]) -> Column:
        """Whether a value is small, and may mention such an object, or `more` things, told as LIKE patterns."""
        from sqlalchemy import case, false, not_, true

        # As WHEN, and not as THEN, of which SQLite works out all parts.
        is_large, may_mention = not_(self._is_small(value, form)), self._may_mention(value, form, more)
        return case((is_large, false()), (may_mention, true()), else_=false())

    def _may_mention(self, value: Column, form: Form, more: Sequence[str] = ()) -> Column:
        from sqlalchemy import or_

        return or_(*(self.contains(value, form, each) for each in (*MENTIONS, *more)))

    def _small(self, value: Column, form: Form, condition: Column, given: OfValue | None = None) -> Column:
        from sqlalchemy import case

        return case((self._is_small(value, form), case((condition, (given or self.whole)(value, form)))))

    def _is_small(self, value: Column, form: Form) -> Column:
        guard = GUARD_BYTES if self.stores_json_parsed and form is Form.JSON else GUARD_ESCAPED_BYTES
        return self.size(value, form) <= guard

    def reaches(self, value: Column, form: Form, size_bytes: int) -> Column:
        """Whether a value's text may be as large as that, told by the stored size where that is enough."""
        from sqlalchemy import case, false, or_, true

        stored = self.size(value, form)
        if self.is_compressed is None or form is not Form.JSON:
            return stored >= size_bytes
        unclear = or_(stored >= size_bytes // JSONB_SHRINKS, self.is_compressed(value))
        by_text = self.text_size(value, form) >= size_bytes
        return case((stored >= size_bytes, true()), (unclear, by_text), else_=false())

    def is_pickle(self, value: Column, form: Form) -> Column:
        """Whether the value is a pickle: only bytes can be, and Python's pickles of protocol 2 on start with 0x80."""
        from sqlalchemy import false

        return self.first_byte(value, PICKLE) if form is Form.BYTES else false()


def dialect_of(engine: Engine) -> Dialect:
    """The dialect of a database that `open_engine` has let through, and that has been connected to."""
    if engine.dialect.name == "postgresql":
        return _postgresql(tells_compression=(engine.dialect.server_version_info or ()) >= (14,))
    if engine.dialect.name in ("mysql", "mariadb"):
        return _mysql(bool(getattr(engine.dialect, "is_mariadb", False)))
    import sqlite3

    return _sqlite(reads_json=sqlite3.sqlite_version_info >= (3, 38))


def _postgresql(tells_compression: bool) -> Dialect:
    from sqlalchemy import Text, and_, case, cast, func, literal, literal_column, not_, or_, true
    from sqlalchemy.dialects.postgresql import JSONB

    def size(value: Column, form: Form) -> Column:
        # Of bytes the true length stands beside the pointer to them; of JSON only the stored size is at hand.
        return func.octet_length(value) if form is Form.BYTES else func.pg_column_size(value)

    def first_byte(value: Column, byte: bytes) -> Column:
        return func.substring(value, 1, 1) == literal(byte)

    def is_string(value: Column, form: Form) -> Column:
        if form is Form.BYTES:
            return first_byte(value, b'"')
        return func.jsonb_typeof(value) == "string" if form is Form.JSON else value.is_not(None)

    def whole(value: Column, form: Form) -> Column:
        return cast(value, Text) if form is Form.JSON else value

    def starts_with(value: Column, form: Form, start: str) -> Column:
        if form is Form.BYTES:
            return func.substring(value, 1, len(start)) == literal(start.encode())
        return func.starts_with(whole(value, form), start)

    def begins(value: Column, form: Form, start: str, none_of: str) -> Column:
        elsewhere = [starts_with(value, form, start + letter) for letter in none_of]
        is_longer = func.octet_length(value) > len(start)
        return and_(starts_with(value, form, start), is_longer, not_(or_(*elsewhere)))

    def as_letters(value: Column, form: Form) -> Column:
        return func.encode(value, "escape") if form is Form.BYTES else whole(value, form)

    def contains(value: Column, form: Form, pattern: str) -> Column:
        return as_letters(value, form).like(pattern)

    def is_plain(value: Column, form: Form) -> Column:
        return as_letters(value, form).op("~", is_comparison=True)('^"[] !#-[^-~]*"$')

    def may_be_url(string: Column, form: Form) -> Column:
        begins = r'^"[A-Za-z0-9+.-]*(:[\\/]|\\)' if form is not Form.JSON else '^("|[A-Za-z0-9+.-]*:/)'
        return as_letters(string, form).op("~", is_comparison=True)(begins)

    def is_compressed(value: Column) -> Column:
        return func.pg_column_compression(value).is_not(None) if tells_compression else true()

    def decoded(value: Column, form: Form) -> Column:
        return value.op("#>>")(literal_column("'{}'")) if form is Form.JSON else value

    def as_bytes(value: Column, form: Form) -> Column:
        return value if form is Form.BYTES else func.convert_to(cast(value, Text), "UTF8")

    def letters(string: Column, form: Form) -> Column:
        return string if form is Form.JSON else _unquoted(as_letters(string, form))

    def moment(column: Column) -> Column:
        in_utc = func.timezone("UTC", column)
        whole_seconds = func.date_trunc("second", column) == column
        form = case((whole_seconds, literal(ISO_SECONDS)), else_=literal(ISO_MICROSECONDS))
        return func.to_char(in_utc, form)

    def text_size(value: Column, form: Form) -> Column:
        return func.octet_length(as_bytes(value, form))

    def digest(value: Column, form: Form) -> Column:
        return func.encode(func.sha256(as_bytes(value, form)), "hex")

    def stored(new: Column, form: Form) -> Column:
        return new if form is Form.BYTES else cast(new, JSONB)

    return Dialect(
        size=size,
        is_string=is_string,
        whole=whole,
        first_byte=first_byte,
        starts_with=starts_with,
        begins=begins,
        is_plain=is_plain,
        may_be_url=may_be_url,
        decoded=decoded,
        name=lambda column: column,
        day=lambda column: func.to_char(func.timezone("UTC", column), "YYYY-MM-DD"),
        contains=contains,
        bound=lambda moment: moment,
        tells_time=None,
        stamp=lambda column: column,
        moment=moment,
        digits=lambda value, form: func.encode(as_bytes(value, form), "hex"),
        letters=letters,
        line=_tabbed,
        pasted=func.string_agg,
        as_indexed="SET LOCAL enable_sort = off",
        pages_at_once=READS_AT_ONCE,
        text_size=text_size,
        space=lambda value, form: func.pg_column_size(value),
        digest=digest,
        stored=stored,
        kept=lambda text, form: whole(stored(literal(text, Text), form), form),
        clock=lambda: func.timezone("UTC", func.clock_timestamp()),
        digests_whole=True,
        is_compressed=is_compressed,
        stores_json_parsed=True,
        compares_times=True,
        all_letters=True,
        has_arrays=True,
        reclaim="VACUUM FULL",
    )


def _in_glob(letter: str) -> str:
    return f"[{letter}]" if letter in "*?[" else letter


def _unquoted(text: Column) -> Column:
    from sqlalchemy import func

    return func.substr(text, 2, func.length(text) - 2)


def _tabbed(columns: Sequence[Column]) -> Column:
    from sqlalchemy import Text, cast, literal

    first, *others = (cast(column, Text) for column in columns)
    return reduce(lambda line, column: line + literal(TAB) + column, others, first)


def _as_written(new: Column, form: Form) -> Column:
    """A JSON text for a column that takes it as it is."""
    return new


def _mysql(is_mariadb: bool) -> Dialect:
    from sqlalchemy import JSON, LargeBinary, Text, and_, case, cast, false, func, literal, literal_column

    def size(value: Column, form: Form) -> Column:
        binary_json = form is Form.JSON and not is_mariadb
        return func.json_storage_size(value) if binary_json else func.length(value)

    def first_byte(value: Column, byte: bytes) -> Column:
        return func.substring(value, 1, 1) == literal(byte)

    def is_string(value: Column, form: Form) -> Column:
        if form is Form.BYTES:
            return first_byte(value, b'"')
        return func.json_type(value) == "STRING" if form is Form.JSON else value.is_not(None)

    def whole(value: Column, form: Form) -> Column:
        return value

    def starts_with(value: Column, form: Form, start: str) -> Column:
        return func.substring(cast(value, LargeBinary), 1, len(start)) == literal(start.encode())

    def begins(value: Column, form: Form, start: str, none_of: str) -> Column:
        following = func.substring(cast(value, LargeBinary), len(start) + 1, 1)
        others = [literal(letter.encode()) for letter in ("", *none_of)]
        return and_(starts_with(value, form, start), following.not_in(others))

    def contains(value: Column, form: Form, pattern: str) -> Column:
        return value.like(pattern)

    def is_plain(value: Column, form: Form) -> Column:
        # MySQL compares no bytes with a pattern, and takes a [ in a class for another class.
        return in_bytes(value).op("REGEXP", is_comparison=True)(r'^"[ !#-\x5B\x5D-~]*"\z')

    def may_be_url(string: Column, form: Form) -> Column:
        return in_bytes(string).op("REGEXP", is_comparison=True)(r'^"[A-Za-z0-9+.-]*(:[\x5C/]|\x5C)')

    def in_bytes(value: Column) -> Column:
        return func.convert(value.op("USING")(literal_column("latin1")))

    def letters(string: Column, form: Form) -> Column:
        return func.convert(_unquoted(string).op("USING")(literal_column("utf8mb4")))

    def moment(column: Column) -> Column:
        forms = ("%Y-%m-%dT%H:%i:%s+00:00", "%Y-%m-%dT%H:%i:%s.%f+00:00")
        is_whole = func.microsecond(column) == 0
        return func.date_format(column, case((is_whole, literal(forms[0])), else_=literal(forms[1])))

    def as_text(value: Column, form: Form) -> Column:
        return cast(value, Text) if form is Form.JSON and not is_mariadb else value

    def text_size(value: Column, form: Form) -> Column:
        return func.length(as_text(value, form))

    def digest(value: Column, form: Form) -> Column:
        return func.sha2(as_text(value, form), 256)

    return Dialect(
        size=size,
        is_string=is_string,
        whole=whole,
        first_byte=first_byte,
        starts_with=starts_with,
        begins=begins,
        is_plain=is_plain,
        may_be_url=may_be_url,
        decoded=None,
        name=lambda column: cast(func.convert(column.op("USING")(literal_column("utf8mb4"))), LargeBinary),
        day=lambda column: func.date_format(column, "%Y-%m-%d"),
        contains=contains,
        bound=lambda moment: moment,
        tells_time=None,
        stamp=lambda column: cast(column, Text),
        moment=moment,
        digits=lambda value, form: func.hex(as_text(value, form)),
        letters=letters,
        line=lambda columns: func.concat(columns[0], *chain.from_iterable((TAB, each) for each in columns[1:])),
        pasted=None,
        as_indexed=None,
        pages_at_once=READS_AT_ONCE,
        text_size=text_size,
        space=size,
        digest=digest,
        stored=_as_written,
        kept=None if is_mariadb else lambda text, form: cast(cast(literal(text, Text), JSON), Text),
        clock=lambda: func.sysdate(literal_column("6")),
        digests_whole=False,
        is_compressed=None if is_mariadb else lambda value: false(),
        stores_json_parsed=False,
        compares_times=True,
        all_letters=False,
        has_arrays=False,
        reclaim="OPTIMIZE TABLE",
    )


def _sqlite(reads_json: bool) -> Dialect:
    from sqlalchemy import LargeBinary, Numeric, Text, and_, case, cast, false, func, literal, not_, or_, type_coerce

    def size(value: Column, form: Form) -> Column:
        return func.length(cast(value, LargeBinary))

    def first_byte(value: Column, byte: bytes) -> Column:
        return func.substr(cast(value, LargeBinary), 1, 1) == literal(byte)

    def is_string(value: Column, form: Form) -> Column:
        return value.is_not(None) if form is Form.TEXT else starts_with(value, form, '"')

    def whole(value: Column, form: Form) -> Column:
        return value

    def starts_with(value: Column, form: Form, start: str) -> Column:
        return glob(cast(value, Text), f"{''.join(map(_in_glob, start))}*")

    def begins(value: Column, form: Form, start: str, none_of: str) -> Column:
        return glob(cast(value, Text), f"{''.join(map(_in_glob, start))}[^{none_of}]*")

    def contains(value: Column, form: Form, pattern: str) -> Column:
        # Whatever the form: an archive that CREATE TABLE AS made has lost the type of its column.
        spelled = "".join({"%": "*", "_": "?"}.get(letter, _in_glob(letter)) for letter in pattern)
        return or_(glob(cast(value, Text), spelled), and_(has_zeros(value), contains_bytes(value, pattern)))

    def glob(text: Column, pattern: str) -> Column:
        return text.op("GLOB", is_comparison=True)(pattern)

    def has_zeros(value: Column) -> Column:
        return func.instr(cast(value, LargeBinary), literal(b"\0")) > 0

    def contains_bytes(value: Column, pattern: str) -> Column:
        # A pickle may hold zero bytes, at which SQLite takes a text for ended: so the bytes are compared in digits.
        digits = {"%": "%", "_": "__"}
        return func.hex(value).like("".join(digits.get(letter, f"{ord(letter):02X}") for letter in pattern))

    def is_plain(value: Column, form: Form) -> Column:
        text = cast(value, Text)
        is_quoted = and_(glob(text, '"*"'), not_(has_zeros(value)))
        if reads_json and form is not Form.BYTES:
            # JSON without escapes stands for itself. SQLite's patterns take ten times as long to look at each letter.
            return and_(is_quoted, func.instr(text, "\\") == 0, func.json_valid(text) == 1)
        return and_(is_quoted, not_(glob(_unquoted(text), "*[^] !#-[^-~]*")))

    def may_be_url(string: Column, form: Form) -> Column:
        text = cast(string, Text)
        schemes = (func.instr(text, each) > 0 for each in (":/", ":\\", "\\u00"))
        return or_(glob(text, '"\\*'), has_zeros(string), and_(glob(text, '"[A-Za-z0-9+.-]*'), or_(*schemes)))

    def letters(string: Column, form: Form) -> Column:
        return func.trim(cast(string, Text), '"')  # what is plain has no other quotes

    def tells_time(column: Column) -> Column:
        return func.coalesce(glob(column, AIRFLOWS_TIME), false())

    def moment(column: Column) -> Column:
        def spelled(letters: int) -> Column:
            return func.substr(column, 1, 10) + literal("T") + func.substr(column, 12, letters) + literal("+00:00")

        return case((glob(column, "*.000000"), spelled(8)), else_=spelled(15))

    def digest(value: Column, form: Form) -> Column:
        return func.xcomctl_sha256(cast(value, LargeBinary))

    def kept(text: str, form: Form) -> Column:
        # The column is declared JSON, which SQLite takes for a numeric one: a text that is a number becomes one.
        numeric = text[:1] == "-" or text[:1].isdigit()
        return type_coerce(cast(literal(text, Text), Numeric), Text) if numeric else literal(text, Text)

    return Dialect(
        size=size,
        is_string=is_string,
        whole=whole,
        first_byte=first_byte,
        starts_with=starts_with,
        begins=begins,
        is_plain=is_plain,
        may_be_url=may_be_url,
        decoded=None,
        name=lambda column: column,
        day=lambda column: func.substr(column, 1, 10),
        contains=contains,
        bound=lambda moment: moment.astimezone(timezone.utc).replace(tzinfo=None).isoformat(" ", "microseconds"),
        tells_time=tells_time,
        stamp=lambda column: column,
        moment=lambda column: case((tells_time(column), moment(column))),
        digits=lambda value, form: func.hex(value),
        letters=letters,
        line=_tabbed,
        pasted=func.group_concat,
        as_indexed=None,
        pages_at_once=1,
        text_size=size,
        space=size,
        digest=digest,
        stored=_as_written,
        kept=kept,
        clock=lambda: func.strftime("%Y-%m-%d %H:%M:%f", "now"),
        digests_whole=False,
        is_compressed=None,
        stores_json_parsed=False,
        compares_times=False,
        all_letters=True,
        has_arrays=False,
        reclaim="VACUUM",
    )
