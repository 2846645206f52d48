from __future__ import annotations

import base64
import datetime as dt
import io
import json
import sys
import zlib
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.backend.test_payload_serde import Serialize, serialize
from xcomctl.backend.payload import DataFrame, Frame, Json, PayloadError, parse, plain, readable, view
from xcomctl.backend.payload.frame import read_table

__all__ = ["serialize"]

# The JSON that Airflow 2.11.2 with pandas 2.1.4 and pyarrow 16.1 writes of
# DataFrame({"city": ["Bern", None, "Köln"], "people": [134591, 0, 1087353], "at": three times 2026-01-02 03:04:05
# in UTC, "kind": Categorical(["a", "b", "a"])}), compressed by zlib.
GOLDEN = zlib.decompress(
    base64.b64decode(
        "eNrdWduO2zYQ/ZVgn4uA1yHZN5mSf2OxSFKgQJsU2aIvRf+95wx1tWVbWyBIWxuWRHKuhzPD0e6fT8/PH355eX39/PLrp+fnpx/f"
        "Pf328vnjy+v7D1++fnr/01dMv+9ffn858+nph3eg/+PT19efv3xWaqszH0HQmKMJNjpvbXtw+EmobWSMdQYfa4MxwegnOInJyWDi"
        "OD5VfxKpMih9tJBgxVGC4Mm0O37Vi3Eum7jiyCbM8tqnQKEbnz10WFydky7ACMqstnhqFkgu5BcvJYVUsOasYF4KaaVUGC+hc2Ly"
        "Y922uMXnSAtGb8aRoqDrHncXwujfjFA29XQ2PWndAKuNramUZM3yGSVChs17+EBGvuLBnLn4wEvjDtKOn86FGVWBdc54zBgn52q8"
        "bZ5vcZVkJMoZ1ypxwbbviG3viO3Q6c7g+q1sP74rVpHVXXHLrnDnEUauAN2zq10Wmx9FabPkgmdvbvTkCO1ObHMXrKEMwXLa3QMn"
        "NoUF+1Mm9pXOydkY5Cme47ey+A3Ya0Rf1gyNuXGL6dD45A5UCVqJRcurvYmd1oVTNeVGXThJkUFW+CUgkCf0svLmPX2HPS+xUqdm"
        "i0cdysiYXlhJs1JUR92rGoWxAU51kTFSbLJts6IxIDVXi/rn66aaLPJHXy/k02uiU0L9d1TQ/0O9+S/n63fMFynoGChXo0k6jsKM"
        "edt/S/3A0NvcnTFzwnarTYixHM+I07PUxBwbknfOd87Ek1JN8a9zziEiKSsJ+hlXOYMRwohjUoA/Is5qW0s+UatLIz8KyzKPiBxn"
        "/Wo2zrM29bEfdazsg7Wz5fhtrb1jiwj4OA6QcM/mFVrxzOxl/sz+R6wVtSesMaBtyaRyzQFKpBY0e6Iw0kM3kVEt+DVa9YDym3R6"
        "mSYpMcYQxPU+w4Z+H5l7WChlq5TuER7XtN8Pk2lvkvq759e6uh3xbY/+vn/ciRRwDIVDvl1T/0PPSH1ot1Z0DzxpFtCa0qxK3SGf"
        "LvjoXTwx4hCHD2N61tYJbY+bmPYtnm9iMNefAzhc0D7AwjefUMvOyWn84kh5ww7nA9msUrS+bnXNdctPMjgf9MSPU7WFr7AI/U/c"
        "ZrzSWK2gbqWrQq7WZ9TbskR7KjpDDWlGRqgJkgt3ZKL11osbvMWPNP0uivucbuQL5GvvbHzlxevcGa52mx4u14r+6jx9UQJsiPjZ"
        "1vBuvidefcDVCemEY33yep2+Dt+b/GmhjDv8ia836/VLW1b8ZR67ZSwX61eSplmXUizAI8oJ9xx6nfU+j/odsGCmoJ7HDnYxyzJe"
        "Jweg7kJG+OAIkCH0aCNxCgIT9ogldNz1Jhf8zDLKGUIHzBmd6HIxLinpfA86zEcomeRAVYgp5eRDDR4eIRu8R1uVsW9DtCMdPd+s"
        "wy6PcfECz0PowV8w7pDpgfanNNvTwxNkyMQfi3e+IC6gFyd9pJ8bvzvic+VnVPys+qNyiUfkO4ILfvIvdsmAH/4AZ8g95m8AuE0/"
        "7tBO/zxNWfhIR3vRozT7Ib+L8Hn2O47+oD8Ca/GoGvDDLfYq/tgLVq4oQpzW/Oo3cW92eOiJE76ZWUe/YFUnyLnI3OT++sW+iCRD"
        "1mGfItyAHrmPO6pJGeXDOL8fHyOfVPVnZS/zOXKfPeyFv9f7Q3mIXwMLMuvzfwhv6IUnwDJl3+x2t/FRu0XzgXG3ybeH8Xiffwiu"
        "5XHLR1TpG35qH4g0BFZmm+/0g/Q+3sRZ6wf4Buk036d9op0Nl6T6kddhJ48QZ5p/t/JU40C2dh3BhXVyY8/BuJn3U/eXedL8ENK8"
        "MX4mv5Xfjn4RJ9Yl1mOcjhu8LfsT6m91nvxzvVJ8Fjk8EzVvujnuYBezGCdIP+avUXs1/xkHzNQt/ab+vy3u7Fx313mxPacGdCLM"
        "34r5jV5g0PyrsdO6onEE+sx6/Facp/hl3ToWf34d35C7bw/yqlvOodU+Yb2dN0nr6nzOMdeKxnXH+GHGQep8vqCeKT3jC3XYE/O1"
        "PeCDveP5i/NT696S58CxzQMX4JpW8YiaznOP5yf3E3GxwqcLEb1A5R3zvdLfz4sOmqiH9RfnhQ+LHcQBLJny6DfibNO1+LTtoVp/"
        "sup0ZNV7aRe19D/a7zjtkvp5XXb7M/Rt6BLnsQ87ndQ116JVNaM/13NwQ+cvpLjdMb9dCGMnmlerfvE0juvuFPqpa13oZOGy4nfk"
        "X1ulGLGujVxEKiwotv70kjelbVc5d6U88WPkGFXoyj67sS89sC+tPNmeR5f9b7MvX0idpcfLnZKb8bHql/fj4w34xgXfuV+5Wo83"
        "+b2+u+B9yug7E/sjpLlDh4X3KIP78iZlLt6EzPrtiX8Xbn8rvr7yT5zmxPv0/8Gnv/4GMS/6gA=="
    )
).decode()
CLASS_NAME = "pandas.core.frame.DataFrame"


def written(frame: pd.DataFrame, serialize: Serialize) -> Json:
    return parse(json.dumps(serialize(frame))).value


def wrapped(parquet: bytes) -> Json:
    return {"__classname__": CLASS_NAME, "__version__": 1, "__data__": parquet.hex()}


def parquet_of(table: pyarrow.Table) -> bytes:
    target = io.BytesIO()
    pyarrow.parquet.write_table(table, target)
    return target.getvalue()


def text_of(value: Json, **limits: int) -> str:
    """The one block of text that the value reads as."""
    (text,) = readable(view(value), **limits)
    assert isinstance(text, str)
    return text


@pytest.fixture
def without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)


def test_the_dataframe_of_airflow_2_11_as_a_table() -> None:
    assert readable(view(parse(GOLDEN).value)) == [
        Frame(
            class_name=CLASS_NAME,
            columns=("city", "people", "at", "kind"),
            dtypes=("object", "int64", "datetime64[ns, UTC]", "category"),
            total_rows=3,
            rows=(
                ("Bern", "134591", "2026-01-02T03:04:05+00:00", "a"),
                ("null", "0", "2026-01-02T03:04:05+00:00", "b"),
                ("Köln", "1087353", "2026-01-02T03:04:05+00:00", "a"),
            ),
        )
    ]


def test_the_dataframe_of_airflow_2_11_as_json() -> None:
    assert plain(view(parse(GOLDEN).value)) == {
        "columns": ["city", "people", "at", "kind"],
        "dtypes": {"city": "object", "people": "int64", "at": "datetime64[ns, UTC]", "kind": "category"},
        "rows": 3,
        "data": [
            {"city": "Bern", "people": 134591, "at": "2026-01-02T03:04:05+00:00", "kind": "a"},
            {"city": None, "people": 0, "at": "2026-01-02T03:04:05+00:00", "kind": "b"},
            {"city": "Köln", "people": 1087353, "at": "2026-01-02T03:04:05+00:00", "kind": "a"},
        ],
    }


def test_pandas_3_calls_it_otherwise() -> None:
    value = parse(GOLDEN.replace(CLASS_NAME, "pandas.DataFrame")).value
    (frame,) = readable(view(value))
    assert isinstance(frame, Frame)
    assert (frame.class_name, frame.total_rows) == ("pandas.DataFrame", 3)


def test_every_dtype_has_the_name_that_pandas_gives_it(serialize: Serialize) -> None:
    frame = pd.DataFrame(
        {
            "int8": np.array([1, 2], "int8"),
            "float": [1.5, None],
            "bool": [True, False],
            "object": ["a", None],
            "time": pd.to_datetime(["2026-01-02", None]),
            "zoned": pd.to_datetime(["2026-07-02"] * 2).tz_localize("Europe/Berlin"),
            "span": pd.to_timedelta(["90s", None]),
            "kind": pd.Categorical(["a", "b"]),
            "Int64": pd.array([1, None], "Int64"),
            "boolean": pd.array([True, None], "boolean"),
            "lists": [[1, 2], None],
            "dicts": [{"a": 1}, None],
            "decimal": [Decimal("1.10"), None],
            "bytes": [b"\xff", None],
            "date": [dt.date(2026, 1, 2), None],
            "text": pd.array(["a", None], "string"),
        }
    )
    table = plain(view(written(frame, serialize)))
    assert isinstance(table, dict)
    assert table["dtypes"] == {name: str(dtype) for name, dtype in frame.dtypes.items()}
    assert table["data"] == [
        {
            "int8": 1,
            "float": 1.5,
            "bool": True,
            "object": "a",
            "time": "2026-01-02T00:00:00",
            "zoned": "2026-07-02T00:00:00+02:00",
            "span": 90.0,
            "kind": "a",
            "Int64": 1,
            "boolean": True,
            "lists": [1, 2],
            "dicts": {"a": 1},
            "decimal": "1.10",
            "bytes": "/w==",
            "date": "2026-01-02",
            "text": "a",
        },
        dict.fromkeys(frame) | {"int8": 2, "bool": False, "zoned": "2026-07-02T00:00:00+02:00", "kind": "b"},
    ]


@pytest.mark.parametrize(
    ("index", "columns"),
    [
        (None, ["a"]),
        (pd.Index([10, 20, 30], name="id"), ["id", "a"]),
        (pd.Index([10, 20, 30]), ["index", "a"]),
        (
            pd.MultiIndex.from_tuples([(1, "x"), (2, "y"), (3, "z")]),
            ["__index_level_0__", "__index_level_1__", "a"],
        ),
    ],
)
def test_an_index_with_values_of_its_own_is_shown_first(
    index: pd.Index | None, columns: list[str], serialize: Serialize
) -> None:
    table = plain(view(written(pd.DataFrame({"a": [1, 2, 3]}, index=index), serialize)))
    assert isinstance(table, dict)
    assert table["columns"] == columns


def test_an_unnamed_index_does_not_take_the_name_of_a_column(serialize: Serialize) -> None:
    frame = pd.DataFrame({"index": [1, 2]}, index=[5, 7])
    assert plain(view(written(frame, serialize))) == {
        "columns": ["__index_level_0__", "index"],
        "dtypes": {"__index_level_0__": "int64", "index": "int64"},
        "rows": 2,
        "data": [{"__index_level_0__": 5, "index": 1}, {"__index_level_0__": 7, "index": 2}],
    }


@pytest.mark.parametrize(
    "frame", [pd.DataFrame(), pd.DataFrame({"a": []}), pd.DataFrame({"a": pd.Series([], dtype="str")})]
)
def test_a_dataframe_without_rows(frame: pd.DataFrame, serialize: Serialize) -> None:
    table = plain(view(written(frame, serialize)))
    assert isinstance(table, dict)
    assert (table["columns"], table["rows"], table["data"]) == (list(frame), 0, [])


def test_programs_get_all_rows_and_people_the_first(serialize: Serialize) -> None:
    value = view(written(pd.DataFrame({"n": range(100_000)}), serialize))
    table = plain(value)
    assert isinstance(table, dict)
    assert table["data"] == [{"n": number} for number in range(100_000)]

    (frame,) = readable(value, max_rows=3)
    assert isinstance(frame, Frame)
    assert (frame.total_rows, frame.rows) == (100_000, (("0",), ("1",), ("2",)))
    (frame,) = readable(value, max_rows=0)
    assert isinstance(frame, Frame)
    assert (frame.total_rows, frame.rows) == (100_000, ())


def test_dataframes_inside_a_value_follow_its_text() -> None:
    frame = parse(GOLDEN).value
    text, first, second = readable(view({"a": frame, "b": [1, frame]}), max_rows=1)
    assert text == '{"a": DataFrame 1 (3 rows, 4 columns), "b": [1, DataFrame 2 (3 rows, 4 columns)]}'
    assert isinstance(first, Frame)
    assert isinstance(second, Frame)
    assert (first.number, second.number) == (1, 2)
    assert len(first.rows) == 1


def test_nanoseconds_of_a_time_survive(serialize: Serialize) -> None:
    at, span = pd.Timestamp("2026-01-02T03:04:05.123456789"), pd.Timedelta("00:00:01.500000001")
    frame = pd.DataFrame({"at": [at], "span": [span]})
    table = plain(view(written(frame, serialize)))
    assert isinstance(table, dict)
    assert table["data"] == [{"at": "2026-01-02T03:04:05.123456789", "span": 1.5}]


def test_parquet_without_pandas_metadata_has_the_types_of_arrow() -> None:
    parquet = parquet_of(pyarrow.table({"a": [1], "b": [{"c": 1.5}]}))
    assert read_table(parquet).dtypes == ("int64", "struct<c: double>")


def test_cells_cannot_speak_to_the_terminal() -> None:
    parquet = parquet_of(pyarrow.table({"\x1b[2J": ["\x1b[31mred\u202e"]}))
    (frame,) = readable(view(wrapped(parquet)))
    assert isinstance(frame, Frame)
    assert (frame.columns, frame.rows) == (("\\u001b[2J",), (("\\u001b[31mred\\u202e",),))


@pytest.mark.usefixtures("without_pyarrow")
def test_without_pyarrow_a_dataframe_is_named_and_the_package_too() -> None:
    value = view(parse(GOLDEN).value)
    assert isinstance(value, DataFrame)
    size = f"{len(value.parquet):,} bytes"
    reason = "(pyarrow is not installed; install pyarrow to see it as a table)"
    assert text_of(parse(GOLDEN).value) == f"{CLASS_NAME} of {size} {reason}"
    assert plain(value) == json.loads(GOLDEN)


def test_a_pyarrow_that_runs_code_from_files_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyarrow, "__version__", "14.0.0")
    with pytest.raises(PayloadError, match=r"pyarrow 14\.0\.0 is not safe") as error:
        read_table(b"")
    assert error.value.hint == "install pyarrow 14.0.1 or later"


@given(st.binary(max_size=100), st.floats(0, 1))
def test_a_damaged_dataframe_is_named(noise: bytes, part: float) -> None:
    value = view(parse(GOLDEN).value)
    assert isinstance(value, DataFrame)
    cut = value.parquet[: int(part * (len(value.parquet) - 1))]
    for parquet in (cut, noise, b"PAR1" + noise + b"PAR1"):
        text = text_of(wrapped(parquet))
        assert text.startswith(f"{CLASS_NAME} of {len(parquet):,} bytes (its parquet cannot be read: ")
        assert text.isprintable()
        assert plain(view(wrapped(parquet))) == wrapped(parquet)


def test_columns_that_lost_a_value_are_an_error_and_no_crash() -> None:
    value = view(parse(GOLDEN).value)
    assert isinstance(value, DataFrame)
    parquet = bytearray(value.parquet)
    parquet[384] = 4  # the count of values in the page of `at`: 2 instead of 3
    for _ in range(50):
        with pytest.raises(PayloadError, match="expected length 3 but got length 2"):
            read_table(bytes(parquet))


def test_an_index_that_counts_otherwise_keeps_its_labels(serialize: Serialize) -> None:
    frame = pd.DataFrame({"a": [1, 2]}, index=pd.RangeIndex(5, 9, 2, name="n"))
    table = plain(view(written(frame, serialize)))
    assert isinstance(table, dict)
    assert table["columns"] == ["n", "a"] and table["data"] == [{"n": 5, "a": 1}, {"n": 7, "a": 2}]


def test_damaged_pandas_metadata_is_an_error() -> None:
    for metadata in (b"[1]", b"{", b'{"columns": [1]}', b'{"index_columns": 1}', b'{"columns": [{"field_name": "a"}]}'):
        table = pyarrow.table({"a": [1]}).replace_schema_metadata({b"pandas": metadata})
        with pytest.raises(PayloadError, match=r"^its parquet cannot be read: "):
            read_table(parquet_of(table))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "null"),
        (True, "true"),
        (1, "1"),
        (float("inf"), "Infinity"),
        ("a\nb", '"a\\nb"'),
        ("Köln 🙂", '"Köln 🙂"'),
        ("\x1b[31m\x9b\u202e\ud800", '"\\u001b[31m\\u009b\\u202e\\ud800"'),
        ([], "[]"),
        ({}, "{}"),
        ({"a": [1, None]}, '{"a": [1, null]}'),
    ],
)
def test_json_reads_as_json(value: Json, expected: str) -> None:
    assert text_of(value) == expected


def test_what_does_not_fit_on_a_line_is_indented() -> None:
    value: Json = {"name": "best", "tags": ["x" * 30, "y" * 30, {"__type": "set", "__var": ["z" * 30]}]}
    assert text_of(value, width=60) == (
        f'{{\n  "name": "best",\n  "tags": [\n    "{"x" * 30}",\n    "{"y" * 30}",\n    set {{"{"z" * 30}"}}\n  ]\n}}'
    )


@given(st.recursive(st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_text_of_plain_json_is_json(value: Json) -> None:
    limits = {"max_items": 10**9, "max_keys": 10**9, "max_characters": 10**9}
    assert json.loads(text_of(value, **limits)) == value


def test_what_is_long_is_counted() -> None:
    assert text_of("x" * 2_000_000) == '"' + "x" * 1000 + '" … 1,999,000 more characters'
    assert text_of(list(range(100_000)), max_items=2) == "[0, 1, … 99,998 more items]"
    assert text_of(list(range(21))).endswith("19, … 1 more item]")
    assert text_of({str(key): key for key in range(5)}, max_keys=1) == '{"0": 0, … 4 more keys}'
    assert text_of({"__type": "set", "__var": [1, 2, 3]}, max_items=1) == "set {1, … 2 more items}"
    assert text_of({"x" * 9: 1}, max_characters=4) == '{"xxxx" … 5 more characters: 1}'


def test_programs_get_it_whole() -> None:
    value: Json = ["x" * 2_000_000, list(range(100_000)), {str(key): key for key in range(1000)}]
    assert plain(view(value)) == value


def test_a_class_name_cannot_speak_to_the_terminal() -> None:
    value: Json = {"__classname__": "a\x1b[31m\n" + "b" * 5000, "__version__": 0, "__data__": 1}
    text = text_of(value)
    assert text.startswith("a\\u001b[31m\\nbbb")
    assert text.endswith("b… (1)")
    assert len(text) < 1100
