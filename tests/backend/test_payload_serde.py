from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import json
import math
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import attr
import numpy as np
import pendulum
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.backend.test_payload_text import JSON_VALUES
from xcomctl.backend.payload import Instance, Json, PayloadError, parse, plain, readable, view
from xcomctl.backend.payload.serde import _READERS

Serialize = Callable[[object], object]
UTC = dt.timezone.utc
MOMENT = dt.datetime(2026, 1, 2, 3, 4, 5)


@dataclasses.dataclass
class Model:
    name: str
    score: float


@attr.define
class Run:
    name: str
    took: dt.timedelta


class Order(pydantic.BaseModel):
    total: Decimal
    placed: dt.datetime


Point = collections.namedtuple("Point", "x y")


@pytest.fixture(scope="session")
def serialize(tmp_path_factory: pytest.TempPathFactory) -> Serialize:
    """Airflow's own, wherever this Airflow has it."""
    os.environ.setdefault("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
    try:
        from airflow.sdk.serde import serialize
    except ImportError:
        from airflow.serialization.serde import serialize
    return serialize


def shown(text: str) -> tuple[Json, str]:
    """What JSON and what people get to see."""
    value = view(parse(text).value)
    (block,) = readable(value)
    assert isinstance(block, str)
    return plain(value), block


REAL = [
    ((1, "two"), [1, "two"], 'tuple (1, "two")'),
    ((), [], "tuple ()"),
    ({"one"}, ["one"], 'set {"one"}'),
    (frozenset([1]), [1], "frozenset {1}"),
    (Point(1, 2), [1, 2], "tuple (1, 2)"),
    ({"a": [(1, (2,))]}, {"a": [[1, [2]]]}, '{"a": [tuple (1, tuple (2))]}'),
    (MOMENT.replace(tzinfo=UTC), "2026-01-02T03:04:05+00:00", "datetime 2026-01-02T03:04:05+00:00"),
    (
        MOMENT.replace(microsecond=678900, tzinfo=ZoneInfo("Europe/Berlin")),
        "2026-01-02T03:04:05.678900+01:00",
        "datetime 2026-01-02T03:04:05.678900+01:00[Europe/Berlin]",
    ),
    # Airflow drops an offset without a name and keeps the moment.
    (
        MOMENT.replace(tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30))),
        "2026-01-01T21:34:05+00:00",
        "datetime 2026-01-01T21:34:05+00:00",
    ),
    (
        pendulum.datetime(2026, 7, 2, 3, 4, 5, tz="America/New_York"),
        "2026-07-02T03:04:05-04:00",
        "DateTime 2026-07-02T03:04:05-04:00[America/New_York]",
    ),
    (
        pendulum.datetime(2026, 1, 2, 3, 4, 5, tz=pendulum.tz.timezone.FixedTimezone(5400)),
        "2026-01-02T03:04:05+01:30",
        "DateTime 2026-01-02T03:04:05+01:30",
    ),
    (dt.date(2026, 1, 2), "2026-01-02", "date 2026-01-02"),
    (dt.timedelta(days=1, seconds=2, microseconds=3), 86402.000003, "timedelta 1 day, 0:00:02.000003"),
    (ZoneInfo("Europe/Paris"), "Europe/Paris", "ZoneInfo Europe/Paris"),
    (pendulum.timezone("Europe/Paris"), "Europe/Paris", "Timezone Europe/Paris"),
    (pendulum.tz.timezone.FixedTimezone(5400), "UTC+01:30", "FixedTimezone UTC+01:30"),
    (pendulum.tz.timezone.FixedTimezone(0), "UTC", "FixedTimezone UTC"),
    (Decimal("1.10"), "1.1", "Decimal 1.1"),
    (Decimal("12345678901234567890123"), "12345678901234567890123", "Decimal 12345678901234567890123"),
    (Decimal("-Infinity"), "-Infinity", "Decimal -Infinity"),
    (np.int8(-5), -5, "numpy.int8 -5"),
    (np.uint64(2**64 - 1), 2**64 - 1, "numpy.uint64 18446744073709551615"),
    (np.float16(1.5), 1.5, "numpy.float16 1.5"),
    (np.complex128(1.5), 1.5, "numpy.complex128 1.5"),
    (np.bool_(True), True, f"numpy.{np.bool_.__name__} true"),
]
SINCE_AIRFLOW_3 = [
    (pendulum.date(2026, 1, 2), "2026-01-02", "Date 2026-01-02"),
    (np.float32(1.5), 1.5, "numpy.float32 1.5"),
    (np.float64(1.5), 1.5, "numpy.float64 1.5"),
    (np.bool_(False), False, f"numpy.{np.bool_.__name__} false"),
    (
        uuid.UUID("6f1ed002-ab5a-4fb1-9b7a-3f6e2f0d8f10"),
        "6f1ed002-ab5a-4fb1-9b7a-3f6e2f0d8f10",
        "UUID 6f1ed002-ab5a-4fb1-9b7a-3f6e2f0d8f10",
    ),
]


@pytest.mark.parametrize(("value", "as_json", "as_text"), REAL, ids=lambda value: type(value).__name__)
def test_what_this_airflow_writes(serialize: Serialize, value: object, as_json: Json, as_text: str) -> None:
    assert shown(json.dumps(serialize(value))) == (as_json, as_text)
    assert shown(json.dumps({"a": [serialize(value)]})) == ({"a": [as_json]}, f'{{"a": [{as_text}]}}')


@pytest.mark.parametrize(("value", "as_json", "as_text"), SINCE_AIRFLOW_3, ids=lambda value: type(value).__name__)
def test_what_airflow_writes_since_3_2(serialize: Serialize, value: object, as_json: Json, as_text: str) -> None:
    if serialize.__module__ != "airflow.sdk.serde":
        pytest.skip("Airflow before 3.2 cannot write it, or not right")
    assert shown(json.dumps(serialize(value))) == (as_json, as_text)


def test_a_naive_datetime_has_no_offset(serialize: Serialize, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        written = json.dumps(serialize(MOMENT))
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        assert shown(written) == ("2026-01-02T03:04:05", "datetime 2026-01-02T03:04:05")
    finally:
        monkeypatch.undo()
        time.tzset()


def test_instances_of_any_class_keep_what_they_are_made_of(serialize: Serialize) -> None:
    name = f"{Model.__module__}.Model"
    written = serialize(Model("best", 0.5))
    assert shown(json.dumps(written)) == (written, f'{name} {{"name": "best", "score": 0.5}}')

    nested = serialize([Run("a", dt.timedelta(seconds=90))])
    assert shown(json.dumps(nested)) == (nested, f'[{Run.__module__}.Run {{"name": "a", "took": timedelta 0:01:30}}]')


def test_a_pydantic_model(serialize: Serialize) -> None:
    written = serialize(Order(total=Decimal("1.5"), placed=MOMENT.replace(tzinfo=UTC)))
    as_json, as_text = shown(json.dumps(written))
    assert as_json == written
    assert as_text.startswith(f"{Order.__module__}.Order ")
    assert '"total": ' in as_text
    assert "2026-01-02T" in as_text


def test_an_asset(serialize: Serialize) -> None:
    try:
        from airflow.sdk import Asset
    except ImportError:
        from airflow.datasets import Dataset as Asset
    written = serialize(Asset("s3://bucket/key"))
    as_json, as_text = shown(json.dumps(written))
    assert as_json == written
    assert as_text.startswith(f"{Asset.__module__}.{Asset.__name__} v1 {{")
    assert '"uri": "s3://bucket/key"' in as_text


def test_an_object_storage_path(serialize: Serialize) -> None:
    try:
        from airflow.sdk import ObjectStoragePath
    except ImportError:
        from airflow.io.path import ObjectStoragePath
    _, as_text = shown(json.dumps(serialize(ObjectStoragePath("file:///tmp/x"))))
    assert as_text.endswith('.ObjectStoragePath v1 {"path": "file:///tmp/x", "conn_id": null, "kwargs": {}}')


def test_what_the_xcom_encoder_writes_into_objects(serialize: Serialize) -> None:
    from airflow.utils.json import XComEncoder

    text = json.dumps({"when": MOMENT.replace(tzinfo=UTC), "pair": (1, 2), "nan": math.nan}, cls=XComEncoder)
    assert shown(text)[1] == '{"when": datetime 2026-01-02T03:04:05+00:00, "pair": [1, 2], "nan": NaN}'


def test_every_class_that_airflow_has_a_serializer_for_is_considered(serialize: Serialize) -> None:
    registered = set(sys.modules[serialize.__module__]._serializers)
    shown_as_tables = {"pandas.DataFrame", "pandas.core.frame.DataFrame"}
    shown_by_their_fields = {
        "deltalake.table.DeltaTable",
        "kubernetes.client.models.v1_pod.V1Pod",
        "kubernetes.client.models.v1_resource_requirements.V1ResourceRequirements",
        "pydantic.main.BaseModel",
        "pyiceberg.table.Table",
    }
    numbers = {name for name in registered if name.startswith("numpy.")}
    assert registered <= set(_READERS) | shown_as_tables | shown_by_their_fields | numbers


@given(
    st.datetimes(
        min_value=dt.datetime(1930, 1, 1),
        max_value=dt.datetime(2200, 1, 1),
        timezones=st.timezones(),
        allow_imaginary=False,
    )
)
def test_any_datetime_keeps_its_moment_and_offset(serialize: Serialize, value: dt.datetime) -> None:
    as_json, as_text = shown(json.dumps(serialize(value)))
    again = dt.datetime.fromisoformat(str(as_json))
    assert abs(again - value) <= dt.timedelta(microseconds=1)  # Airflow writes a float
    assert again.utcoffset() == value.utcoffset()
    assert as_text.startswith(f"datetime {as_json}")


@given(st.timedeltas(dt.timedelta(days=-10_000), dt.timedelta(days=10_000)))
def test_any_timedelta_is_its_seconds(serialize: Serialize, value: dt.timedelta) -> None:
    assert shown(json.dumps(serialize(value)))[0] == value.total_seconds()


@given(st.decimals())
def test_any_decimal_is_what_airflow_reads(serialize: Serialize, value: Decimal) -> None:
    if value.is_snan() or abs(value.adjusted()) > 300:
        return  # Airflow cannot write them, or only as infinity
    written = serialize(value)
    assert isinstance(written, dict)
    assert shown(json.dumps(written))[0] == str(Decimal(str(written["__data__"])))


# Written by Airflow 2.11.2: `json.dumps(value, cls=XComEncoder)`.
GOLDEN = [
    (
        '{"__classname__": "builtins.tuple", "__version__": 1, "__data__": [1, {"__classname__": "builtins.tuple",'
        ' "__version__": 1, "__data__": [2, 3]}]}',
        [1, [2, 3]],
        "tuple (1, tuple (2, 3))",
    ),
    ('{"__classname__": "builtins.set", "__version__": 1, "__data__": [1]}', [1], "set {1}"),
    (
        '{"__classname__": "datetime.datetime", "__version__": 2, "__data__": {"timestamp": 1767323045.6789, "tz":'
        ' {"__classname__": "builtins.tuple", "__version__": 1, "__data__":'
        ' ["UTC", "pendulum.tz.timezone.FixedTimezone", 1, true]}}}',
        "2026-01-02T03:04:05.678900+00:00",
        "datetime 2026-01-02T03:04:05.678900+00:00",
    ),
    (
        '{"__classname__": "datetime.datetime", "__version__": 2, "__data__": {"timestamp": 1767323045.0, "tz": null}}',
        "2026-01-02T03:04:05",
        "datetime 2026-01-02T03:04:05",
    ),
    (
        '{"__classname__": "datetime.datetime", "__version__": 2, "__data__": {"timestamp": 1767303245.0, "tz":'
        ' {"__classname__": "builtins.tuple", "__version__": 1, "__data__": ["", "", 0, false]}}}',
        "2026-01-01T21:34:05+00:00",
        "datetime 2026-01-01T21:34:05+00:00",
    ),
    (
        '{"__classname__": "pendulum.datetime.DateTime", "__version__": 2, "__data__": {"timestamp": 1767319445.0,'
        ' "tz": {"__classname__": "builtins.tuple", "__version__": 1, "__data__":'
        ' [3600, "pendulum.tz.timezone.FixedTimezone", 1, true]}}}',
        "2026-01-02T03:04:05+01:00",
        "DateTime 2026-01-02T03:04:05+01:00",
    ),
    (
        '{"__classname__": "pendulum.datetime.DateTime", "__version__": 2, "__data__": {"timestamp": 1767319445.0,'
        ' "tz": {"__classname__": "builtins.tuple", "__version__": 1, "__data__":'
        ' ["Europe/Berlin", "pendulum.tz.timezone.Timezone", 1, true]}}}',
        "2026-01-02T03:04:05+01:00",
        "DateTime 2026-01-02T03:04:05+01:00[Europe/Berlin]",
    ),
    ('{"__classname__": "datetime.date", "__version__": 2, "__data__": "2026-01-02"}', "2026-01-02", "date 2026-01-02"),
    (
        '{"__classname__": "datetime.timedelta", "__version__": 2, "__data__": 86402.000003}',
        86402.000003,
        "timedelta 1 day, 0:00:02.000003",
    ),
    ('{"__classname__": "decimal.Decimal", "__version__": 1, "__data__": 1.1}', "1.1", "Decimal 1.1"),
    (
        '{"__classname__": "decimal.Decimal", "__version__": 1, "__data__": 1000000000000000000000000000000}',
        "1000000000000000000000000000000",
        "Decimal 1000000000000000000000000000000",
    ),
    ('{"__classname__": "decimal.Decimal", "__version__": 1, "__data__": NaN}', "NaN", "Decimal NaN"),
    (
        '{"__classname__": "zoneinfo.ZoneInfo", "__version__": 1, "__data__": "Europe/Paris"}',
        "Europe/Paris",
        "ZoneInfo Europe/Paris",
    ),
    (
        '{"__classname__": "pendulum.tz.timezone.FixedTimezone", "__version__": 1, "__data__": 5400}',
        "UTC+01:30",
        "FixedTimezone UTC+01:30",
    ),
    ('{"__classname__": "numpy.int64", "__version__": 1, "__data__": 5}', 5, "numpy.int64 5"),
    ('{"__classname__": "numpy.bool_", "__version__": 1, "__data__": true}', True, "numpy.bool_ true"),
    # Version 1 of datetime, Airflow 2.6: the zone is what `tzname()` gave.
    (
        '{"__classname__": "datetime.datetime", "__version__": 1,'
        ' "__data__": {"timestamp": 1687305600.0, "tz": "UTC"}}',
        "2023-06-21T00:00:00+00:00",
        "datetime 2023-06-21T00:00:00+00:00",
    ),
    (
        '{"__classname__": "datetime.datetime", "__version__": 1,'
        ' "__data__": {"timestamp": 1687305600.0, "tz": "EDT"}}',
        "2023-06-20T20:00:00-04:00",
        "datetime 2023-06-20T20:00:00-04:00[EDT]",
    ),
    (
        '{"__classname__": "datetime.datetime", "__version__": 1,'
        ' "__data__": {"timestamp": 1687305600.0, "tz": "CEST"}}',
        "2023-06-21T02:00:00+02:00",
        "datetime 2023-06-21T02:00:00+02:00[CEST]",
    ),
    # The forms of BaseSerialization, inside a dataclass of Airflow 2.5 and in trigger arguments.
    ('{"__type": "dict", "__var": {"a": {"__type": "set", "__var": [1]}}}', {"a": [1]}, '{"a": set {1}}'),
    ('{"__type": "tuple", "__var": [1]}', [1], "tuple (1)"),
    (
        '{"__type": "datetime", "__var": 1767323045.0}',
        "2026-01-02T03:04:05+00:00",
        "datetime 2026-01-02T03:04:05+00:00",
    ),
    ('{"__type": "timedelta", "__var": 90.0}', 90.0, "timedelta 0:01:30"),
    ('{"__type": "timezone", "__var": "UTC"}', "UTC", "Timezone UTC"),
    # Airflow 3.4 writes the lazy sequence of a mapped task as a list.
    (
        '{"__classname__": "airflow.sdk.execution_time.lazy_sequence.LazyXComSequence", "__version__": 1,'
        ' "__data__": [1, 2]}',
        [1, 2],
        "[1, 2]",
    ),
]
GOLDEN_INSTANCES = [
    ('{"__classname__": "shop.DC", "__version__": 0, "__data__": {"a": 1, "b": "x"}}', 'shop.DC {"a": 1, "b": "x"}'),
    (
        '{"__classname__": "shop.PM", "__version__": 0, "__data__": {"a": {"__classname__": "datetime.date",'
        ' "__version__": 2, "__data__": "2026-01-02"}}}',
        'shop.PM {"a": date 2026-01-02}',
    ),
    (
        '{"__classname__": "airflow.datasets.Dataset", "__version__": 1,'
        ' "__data__": {"uri": "s3://b/x", "extra": null}}',
        'airflow.datasets.Dataset v1 {"uri": "s3://b/x", "extra": null}',
    ),
    (
        '{"__classname__": "deltalake.table.DeltaTable", "__version__": 1, "__data__": {"table_uri": "/d/",'
        ' "version": 0, "storage_options": {"key": "gAAAAABq"}}}',
        'deltalake.table.DeltaTable v1 {"table_uri": "/d/", "version": 0, "storage_options": {"key": "gAAAAABq"}}',
    ),
    (
        '{"__classname__": "pyiceberg.table.Table", "__version__": 1, "__data__": {"identifier": {"__classname__":'
        ' "builtins.tuple", "__version__": 1, "__data__": ["ns", "t"]}, "catalog_properties": {}}}',
        'pyiceberg.table.Table v1 {"identifier": tuple ("ns", "t"), "catalog_properties": {}}',
    ),
    (
        '{"__classname__": "kubernetes.client.models.v1_pod.V1Pod", "__version__": 1, "__data__": {"spec":'
        ' {"containers": [{"image": "x", "name": "base"}]}}}',
        'kubernetes.client.models.v1_pod.V1Pod v1 {"spec": {"containers": [{"image": "x", "name": "base"}]}}',
    ),
    (
        '{"__classname__": "unusual_prefix_0123456789abcdef0123456789abcdef01234567_etl.Row", "__version__": 0,'
        ' "__data__": {}}',
        "etl.Row {}",
    ),
    ('{"__classname__": "shop.Point", "__version__": 2, "__data__": [1, 2]}', "shop.Point v2 ([1, 2])"),
    ('{"__classname__": "shop.Empty", "__version__": 0}', "shop.Empty (null)"),
    ('{"__type": "k8s.V1Pod", "__var": {"spec": 1}}', 'k8s.V1Pod {"spec": 1}'),
    # Known names with data that their readers do not know.
    ('{"__classname__": "datetime.datetime", "__version__": 9, "__data__": "now"}', 'datetime.datetime v9 ("now")'),
    (
        '{"__classname__": "datetime.datetime", "__version__": 2, "__data__": {"timestamp": 1e+300, "tz": null}}',
        'datetime.datetime v2 {"timestamp": 1e+300, "tz": null}',
    ),
    ('{"__classname__": "datetime.timedelta", "__version__": 2, "__data__": NaN}', "datetime.timedelta v2 (NaN)"),
    ('{"__classname__": "datetime.date", "__version__": 2, "__data__": "soon"}', 'datetime.date v2 ("soon")'),
    ('{"__classname__": "decimal.Decimal", "__version__": 1, "__data__": [1]}', "decimal.Decimal v1 ([1])"),
    ('{"__classname__": "uuid.UUID", "__version__": 1, "__data__": 5}', "uuid.UUID v1 (5)"),
    ('{"__classname__": "numpy.float64", "__version__": 1, "__data__": "x"}', 'numpy.float64 v1 ("x")'),
    ('{"__classname__": "builtins.tuple", "__version__": 1, "__data__": {"a": 1}}', 'builtins.tuple v1 {"a": 1}'),
    ('{"__classname__": "pandas.DataFrame", "__version__": 1, "__data__": "xyz"}', 'pandas.DataFrame v1 ("xyz")'),
]
PLAIN_DICTS = [
    {"__classname__": "shop.DC"},
    {"__classname__": 1, "__version__": 1, "__data__": 1},
    {"__classname__": "shop.DC", "__version__": "1", "__data__": 1},
    {"__type": "dict"},
    {"__type": 1, "__var": 1},
]


@pytest.mark.parametrize(("text", "as_json", "as_text"), GOLDEN, ids=lambda text: str(text)[:60])
def test_what_other_airflows_wrote(text: str, as_json: Json, as_text: str) -> None:
    assert shown(text) == (as_json, as_text)


@pytest.mark.parametrize(("text", "as_text"), GOLDEN_INSTANCES)
def test_other_classes_stay_wrapped_for_programs(text: str, as_text: str) -> None:
    as_json, shown_text = shown(text)
    assert (json.dumps(as_json), shown_text) == (text, as_text)  # as text, since NaN is not NaN
    assert isinstance(view(parse(text).value), Instance)


@pytest.mark.parametrize("value", PLAIN_DICTS)
def test_a_dict_that_is_not_quite_wrapped_stays_a_dict(value: dict[str, Json]) -> None:
    assert view(value) == value


@pytest.mark.parametrize(
    "zone", ["Mars/Olympus", "../../etc/passwd", "Europe", "\x00", "tzdata.zoneinfo", "é", "x" * 5000]
)
def test_the_moment_survives_a_zone_that_nobody_knows(zone: str) -> None:
    wrapped: Json = {
        "__classname__": "datetime.datetime",
        "__version__": 2,
        "__data__": {"timestamp": 1767323045.0, "tz": [zone, "zoneinfo.ZoneInfo", 1, True]},
    }
    assert plain(view(wrapped)) == "2026-01-02T03:04:05+00:00"
    (text,) = readable(view(wrapped))
    assert isinstance(text, str)
    assert text.isprintable()


@given(JSON_VALUES)
def test_plain_json_stays_what_it_is(value: Json) -> None:
    assert plain(view(value)) == value


@given(
    st.sampled_from([*_READERS, "numpy.int64", "pandas.DataFrame", "os.system", ""]),
    st.integers(-1, 9),
    JSON_VALUES | st.fixed_dictionaries({"timestamp": JSON_VALUES, "tz": JSON_VALUES}),
)
def test_no_data_upsets_a_reader(class_name: str, version: int, data: Json) -> None:
    value = view([{"__classname__": class_name, "__version__": version, "__data__": data}])
    json.dumps(plain(value))
    assert all(isinstance(block, str) and block.replace("\n", "").isprintable() for block in readable(value))


def test_a_value_nested_too_deeply_is_an_error() -> None:
    deep: Json = 1
    for _ in range(5000):
        deep = {"__classname__": "builtins.tuple", "__version__": 1, "__data__": [deep]}
    with pytest.raises(PayloadError, match="nested too deeply"):
        view(deep)


def test_a_class_that_a_payload_names_is_never_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trap_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    text = '{"__classname__": "trap_module.Trap", "__version__": 1, "__data__": {"a": 1}}'
    assert shown(text)[1] == 'trap_module.Trap v1 {"a": 1}'
    assert "trap_module" not in sys.modules


def test_the_room_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from xcomctl.backend.payload import decompress, parse, plain, readable, view\n"
        'value = view(parse(decompress(b\'{"__type": "tuple", "__var": [1]}\', \'a\').data).value)\n'
        "plain(value), readable(value)\n"
        "heavy = {'airflow', 'fsspec', 'numpy', 'pandas', 'pyarrow', 'rich', 'sqlalchemy', 'typer'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
