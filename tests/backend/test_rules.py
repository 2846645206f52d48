"""Rules of hand-written backends: what they take for a reference, and which rules are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from xcomctl.backend.rules import rules
from xcomctl.errors import UsageError

UUID = "0d760203-28d1-4226-81c7-7786b50e4773"
NAMES = {"dag_id": "d", "run_id": "manual__2026-01-01T00:00:00+00:00", "task_id": "a.t", "map_index": "-1", "key": "k+"}
BUILTIN = rules(None)


@pytest.mark.parametrize(
    ("rule", "string", "name"),
    [
        ("gcs-variable", "gcs://{run_id}/{task_id}/%s.json", "{run_id}/{task_id}/%s.json"),
        ("s3-flat", "xcom_s3://data_%s", "data_%s"),
        ("s3", "xcom_s3://{run_id}/{task_id}/data_%s.json", "{run_id}/{task_id}/data_%s.json"),
        ("s3", "xcom_s3://{run_id}/{task_id}/data_%s.csv", "{run_id}/{task_id}/data_%s.csv"),
        ("gcs", "xcom_gcs://{run_id}/{task_id}/data_%s.json", "{run_id}/{task_id}/data_%s.json"),
        ("azure", "xcom_wasb://{run_id}/{task_id}/data_%s.html", "{run_id}/{task_id}/data_%s.html"),
        ("minio", "xcom_minio://{run_id}/{task_id}/data_%s.json", "{run_id}/{task_id}/data_%s.json"),
        (
            "s3-and-gcs",
            "s3_and_gs://{dag_id}/{run_id}/{task_id}/{map_index}/{key}_data_%s.json",
            "{dag_id}/{run_id}/{task_id}/{map_index}/{key}_data_%s.json",
        ),
    ],
)
def test_the_built_in_ones_know_their_references(rule: str, string: str, name: str):
    assert BUILTIN[rule].object_of(string.format(**NAMES) % UUID, NAMES) == name.format(**NAMES) % UUID


@pytest.mark.parametrize(
    "string",
    [
        f"gcs://bucket/a.t/{UUID}.json",
        f"gcs://{NAMES['run_id']}/other/{UUID}.json",
        f"gcs://{NAMES['run_id']}/a.t/{UUID}.json.gz",
        f"gcs://{NAMES['run_id']}/a.t/report.json",
        f" gcs://{NAMES['run_id']}/a.t/{UUID}.json",
        f"gcs://{NAMES['run_id']}/a.t/{UUID}.json\n",
        f"gcs://{NAMES['run_id'].replace('+', '-')}/a.t/{UUID}.json",
        f"gs://{NAMES['run_id']}/a.t/{UUID}.json",
        f"s3://data_{UUID}",
        "",
    ],
)
def test_nothing_else_is_one(string: str):
    assert [name for name, rule in BUILTIN.items() if rule.object_of(string, NAMES) is not None] == []


def test_names_are_no_patterns():
    names = {**NAMES, "run_id": ".*", "task_id": "(a"}
    assert BUILTIN["s3"].object_of(f"xcom_s3://x/(a/data_{UUID}.json", names) is None
    assert BUILTIN["s3"].object_of(f"xcom_s3://.*/(a/data_{UUID}.json", names) == f".*/(a/data_{UUID}.json"


class TestBuckets:
    def test_a_constant(self, tmp_path: Path):
        path = tmp_path / "rules.toml"
        path.write_text(
            '[mine]\nreference = "mine://{uuid}"\nroot = "gs://{bucket}"\n'
            'bucket = { constant = "theirs" }\nobject = "{uuid}"\n'
        )
        assert rules(path)["mine"].base().text == "gs://theirs"

    def test_nobody_is_sent_to_the_bucket_of_a_tutorial(self):
        """Who owns that name on S3 would be told of runs, and could answer with values."""
        assert [
            name for name, rule in BUILTIN.items() if rule.bucket is not None and rule.bucket[0] == "constant"
        ] == []

    def test_an_environment_variable(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.delenv("XCOM_BUCKET_NAME", raising=False)
        with pytest.raises(UsageError, match=r"\$XCOM_BUCKET_NAME is not set") as caught:
            BUILTIN["minio"].base()
        assert caught.value.hint == "--rule minio --relocate s3://BUCKET"
        monkeypatch.setenv("XCOM_BUCKET_NAME", "theirs")
        assert BUILTIN["minio"].base().text == "s3://theirs"

    def test_an_airflow_variable(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("AIRFLOW_VAR_XCOM_BACKEND_DATA_GCS_NAME", "theirs")
        assert BUILTIN["gcs-variable"].base().text == "gs://theirs"

    def test_one_that_only_the_user_knows(self):
        with pytest.raises(UsageError, match="does not tell where the objects are"):
            BUILTIN["s3-flat"].base()


class TestFiles:
    GOOD = """
[mine]
reference = "mine://{any}/{hex}"
root = "s3://conn@{bucket}/prefix"
bucket = { constant = "b" }
object = "{any}/{hex}.json"
[s3]
reference = "s3x://{uuid}"
root = "s3://b"
object = "{uuid}"
"""

    def write(self, tmp_path: Path, text: str) -> Path:
        path = tmp_path / "rules.toml"
        path.write_text(text)
        return path

    def test_ones_own(self, tmp_path: Path):
        own = rules(self.write(tmp_path, self.GOOD))
        assert own["mine"].object_of("mine://a/0123456789abcdef", NAMES) == "a/0123456789abcdef.json"
        assert own["mine"].base().text == "s3://conn@b/prefix"
        assert own["s3"].reference == "s3x://{uuid}" and own["gcs"] == BUILTIN["gcs"]

    def test_a_part_that_comes_twice_is_the_same(self, tmp_path: Path):
        text = '[a]\nreference = "x://{any}/{any}/{uuid}"\nroot = "s3://b"\nobject = "{uuid}"'
        (rule,) = (rule for name, rule in rules(self.write(tmp_path, text)).items() if name == "a")
        assert rule.object_of(f"x://a/a/{UUID}", NAMES) == UUID and rule.object_of(f"x://a/b/{UUID}", NAMES) is None

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("[a", "rules.toml: "),
            ("a = 1", "is no table"),
            ('[a]\nreference = "x"', "lacks the text of root, object"),
            ('[a]\nreference = "{any}"\nroot = "s3://b"\nobject = "x"', "take a user's data"),
            ('[a]\nreference = "s3://{any}"\nroot = "s3://b"\nobject = "{any}"', "take a user's data"),
            ('[a]\nreference = "x{uuid}"\nroot = "s3://b"\nobject = "{hex}"', "what the reference lacks: hex"),
            ('[a]\nreference = "x{uid}"\nroot = "s3://b"\nobject = "x"', "unknown parts: uid"),
            ('[a]\nreference = "x{uuid}"\nroot = "s3://b"\nobject = "{uuid}"\ncodec = "gz"', "unknown fields: codec"),
            (
                '[a]\nreference = "x{uuid}"\nroot = "s3://b"\nobject = "{uuid}"\nbucket = {env = "E"}',
                "no {bucket} in its root",
            ),
            (
                '[a]\nreference = "x{uuid}"\nroot = "s3://{bucket}"\nobject = "{uuid}"\nbucket = {file = "E"}',
                "none of constant, env, variable",
            ),
        ],
    )
    def test_a_bad_one_is_refused_in_words(self, tmp_path: Path, text: str, says: str):
        with pytest.raises(UsageError) as caught:
            rules(self.write(tmp_path, text))
        assert says in caught.value.message

    def test_no_file(self, tmp_path: Path):
        with pytest.raises(UsageError, match="cannot read the rules"):
            rules(tmp_path / "none.toml")
