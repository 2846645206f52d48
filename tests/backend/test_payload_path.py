from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xcomctl.backend.payload import dig, path_steps, plain, view
from xcomctl.errors import ExitCode, NotFoundError, UsageError

MODEL = {
    "__classname__": "shop.Model",
    "__version__": 1,
    "__data__": {"name": "best", "scores": {"__classname__": "builtins.tuple", "__version__": 1, "__data__": [1, 2]}},
}
VALUE = view({"a": {"b": [10, {"c": None}]}, "x.y": 1, "model": MODEL, "text": "abc", "empty": [], "0": "zero"})


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.b[0]", 10),
        (".a.b[0]", 10),
        ("a.b[-1].c", None),
        ('["x.y"]', 1),
        ('["a"].b[1]["c"]', None),
        ("model.name", "best"),
        ("model.scores", [1, 2]),
        ("model.scores[1]", 2),
        ("model.__data__.name", "best"),
        ("0", "zero"),
    ],
)
def test_a_path_leads_to_its_part(path: str, expected: object) -> None:
    assert plain(dig(VALUE, path)) == expected


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        ("b", 'there is no key "b" in the value', "its keys are a, x.y, model, text, empty, 0"),
        ("a.c.d", 'there is no key "c" in a', "its keys are b"),
        ("a.b[2]", "there is no index 2 in a.b", "it is a list of 2, from [0] to [1]"),
        ("a.b.c", 'there is no key "c" in a.b', "it is a list of 2, from [0] to [1]"),
        ("a[0]", "there is no index 0 in a", "its keys are b"),
        ("text[0]", "there is no index 0 in text", "it is a string"),
        ('["x.y"].z', 'there is no key "z" in ["x.y"]', "it is 1"),
        ("a.b[1].c.d", 'there is no key "d" in a.b[1].c', "it is null"),
        ("empty[0]", "there is no index 0 in empty", "it is empty"),
        ("model.age", 'there is no key "age" in model', "its keys are name, scores"),
        ("model.scores[2]", "there is no index 2 in model.scores", "it is a list of 2, from [0] to [1]"),
    ],
)
def test_a_path_that_leads_nowhere_says_where_it_fails(path: str, message: str, hint: str) -> None:
    with pytest.raises(NotFoundError) as error:
        dig(VALUE, path)
    assert (error.value.message, error.value.hint) == (message, hint)
    assert error.value.exit_code == ExitCode.NOT_FOUND


def test_a_long_list_of_keys_is_shortened() -> None:
    with pytest.raises(NotFoundError) as error:
        dig(view({f"key{number}": number for number in range(1000)}), "x")
    assert (error.value.hint or "").endswith("key18, key19, …")


@pytest.mark.parametrize(
    "path", ["", ".", "a.", "a..b", "a[", "a[b]", "[0]a", 'a["b]', 'a["\\x"]', "a]", "[" + "9" * 19 + "]"]
)
def test_a_malformed_path_is_a_usage_error(path: str) -> None:
    with pytest.raises(UsageError) as error:
        dig(VALUE, path)
    assert error.value.exit_code == ExitCode.USAGE
    assert error.value.hint


@given(st.lists(st.text() | st.integers(-(10**18) + 1, 10**18 - 1), min_size=1))
def test_every_step_can_be_written(steps: list[str | int]) -> None:
    path = "".join(f"[{json.dumps(step)}]" for step in steps)
    assert path_steps(path) == tuple(steps)


@given(st.text(max_size=30))
def test_any_path_is_found_or_refused(path: str) -> None:
    try:
        dig(VALUE, path)
    except (NotFoundError, UsageError) as error:
        assert error.message.isprintable()
