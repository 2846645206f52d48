"""What the command line of verify-backend refuses: 2, before anything is looked at."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import XCOMCTL, Run


@pytest.mark.parametrize(
    ("words", "says", "hint"),
    [
        (("--compare",), "needs two fingerprints", "--compare scheduler.json worker.json"),
        (("--compare", "a.json"), "needs two fingerprints", "--compare scheduler.json worker.json"),
        (("a.json",), "nothing to do with a.json", "--compare"),
        (("--compare", "--fingerprint", "a.json", "b.json"), "two things to do", "one of them"),
        (("--fingerprint", "--wait", "5s"), "--wait goes with the checks", "leave it out"),
        (("--wait", "soon"), "--wait 'soon' is not an age", "write 7d"),
        (("--rules", "/nowhere.toml"), "--rule which one", "say --rule NAME too"),
        (("--rule", "nope"), "there is no rule 'nope'", "gcs-variable"),
        (("--rule", "s3=bucket"), "'bucket' is no URL", "s3://connection@bucket"),
        (("--rule", "s3", "--rules", "/nowhere.toml"), "cannot read the rules in /nowhere.toml", "--rules"),
        (("--compare", "/nowhere.json", "b.json"), "cannot read /nowhere.json", "--compare"),
    ],
)
def test_what_makes_no_sense(cli: Run, words: tuple[str, ...], says: str, hint: str):
    cli("verify-backend", *words).failed(2, says, hint)


@pytest.fixture
def taken(process: Run, tmp_path: Path) -> Path:
    """The fingerprint of this container."""
    done = process("verify-backend", "--fingerprint")
    assert (done.code, done.err) == (0, "")
    (tmp_path / "taken.json").write_bytes(done.out)
    return tmp_path / "taken.json"


@pytest.mark.parametrize(
    "held",
    [
        b"",
        b"no JSON",
        b'{"schema": 1, "cl',
        b"[" * 100_000,
        b"\xff\xfe\x00\xd8\xb5",
        b'[{"id": "airflow"}]',
        b" " * 2_000_000,
    ],
    ids=["empty", "text", "truncated", "deep", "binary", "other", "long"],
)
def test_what_is_no_fingerprint(cli: Run, tmp_path: Path, held: bytes):
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(held)
    second.write_text("{}")
    cli("verify-backend", "--compare", str(first), str(second)).failed(
        2, f"{first} holds no fingerprint", "--fingerprint"
    )


def test_one_file_is_not_compared_with_itself(cli: Run, tmp_path: Path):
    file, link, hard = tmp_path / "a.json", tmp_path / "b.json", tmp_path / "c.json"
    file.write_text("{}")
    link.symlink_to(file)
    hard.hardlink_to(file)
    (tmp_path / "x").mkdir()
    for other in (file, link, hard, f"{tmp_path}/x/../a.json"):
        cli("verify-backend", "--compare", str(file), str(other)).failed(2, "are one file", "in each container")


def test_fingerprints_are_compared_in_every_encoding(process: Run, taken: Path):
    document = json.loads(taken.read_bytes())
    document["hostname"] = "an\u00e9\u4e16"
    document["options"]["common.io.xcom_objectstorage_path"]["value"] = "file:///\u00fc\ud800"
    other = taken.with_name("other.json")
    other.write_bytes(json.dumps(document).encode("utf-16"))
    done = process("verify-backend", "--compare", str(taken), str(other), LC_ALL="C", PYTHONIOENCODING="ascii")
    assert done.code == 1 and "other.json: file:///\u00fc\\ud800" in done.text
    assert "Traceback" not in done.err


def test_a_fingerprint_in_a_poor_locale(process: Run):
    path = {"AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH": "file:///\u00fc"}
    done = process("verify-backend", "--fingerprint", LC_ALL="C", PYTHONIOENCODING="ascii", **path)
    assert (done.code, done.err) == (0, "")
    assert done.json["options"]["common.io.xcom_objectstorage_path"]["value"] == "file:///\u00fc"


def test_streams_that_are_full_or_closed(bare: dict[str, str], taken: Path):
    copied = taken.with_name("copied.json")
    copied.write_bytes(taken.read_bytes())
    for words in (("--fingerprint",), ("--compare", str(taken), str(copied))):
        command = shlex.join([*XCOMCTL, "verify-backend", *words])
        for streams, code, said in ((">/dev/full", 1, "cannot write: No space left on device"), (">&-", 0, "")):
            done = subprocess.run(
                ["sh", "-c", f"exec {command} {streams}"],
                env=bare,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == code and said in done.stderr and "Traceback" not in done.stderr
            assert done.stderr.count("xcomctl: ") == done.stderr.count("hint: ") == code
