"""A sandbox on which the commands of the pages run: what stands for their placeholders, and how to agree beforehand."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from tests.docs.pages import BLOCKS_OF_RULES
from tests.docs.shown import said
from xcomctl.demo.sandbox import Sandbox

ACTING = ("gc", "restore", "migrate", "rm")
AGREED = {"--yes", "-y", "--dry-run", "-n", "--history", "--explain"}
FINGERPRINTS = ("scheduler.json", "worker.json", "triggerer.json")
SURROUNDINGS = {"OUR_BUCKET": "my-bucket", "AIRFLOW_VAR_XCOM_BACKEND_DATA_GCS_NAME": "my-bucket"}
"""Where the pages' rules look for their buckets."""
OUTSIDE = re.compile(r"/(?:var|etc)/\S*/")


def run(sandbox: Sandbox, words: Sequence[str], folder: Path) -> tuple[int, str]:
    """Run a command of a page in a folder, having put there what it needs."""
    return said(sandbox, shlex.join(("xcomctl", *agreed(filled(sandbox, words, folder)))), folder, **SURROUNDINGS)


def agreed(words: Sequence[str]) -> list[str]:
    """With the yes that a person would type where a command asks."""
    asks = words[0] in ACTING and not AGREED & set(words)
    return [*words, *(["--yes"] if asks else [])]


def filled(sandbox: Sandbox, words: Sequence[str], folder: Path) -> list[str]:
    """A command without placeholders: of this sandbox, and of files in this folder."""
    for name, rules in BLOCKS_OF_RULES.items():
        (folder / name).write_text(rules)
    if "--compare" in words:
        _take_fingerprints(sandbox, folder)
    return [_filled(sandbox, word, folder) for word in words]


def _filled(sandbox: Sandbox, word: str, folder: Path) -> str:
    if word == "OPERATION_ID":
        return _operation(sandbox)
    if word == "URL":
        return f"file://{min(sandbox.all_objects())}"
    return OUTSIDE.sub(f"{folder}/", word)


def _operation(sandbox: Sandbox) -> str:
    """The newest run of gc, which is made now if there is none."""
    if not (runs := sorted(_runs(sandbox))):
        said(sandbox, "xcomctl gc --single-pass --yes --quiet", sandbox.folder)
        runs = sorted(_runs(sandbox))
    return runs[-1]


def _runs(sandbox: Sandbox) -> set[str]:
    return {path.name for path in sandbox.folder.glob("_xcomctl/*/audit/*")}


def _take_fingerprints(sandbox: Sandbox, folder: Path) -> None:
    _, fingerprint = said(sandbox, "xcomctl verify-backend --fingerprint", folder)
    for host, name in enumerate(FINGERPRINTS):
        (folder / name).write_text(re.sub(r'"hostname": "[^"]*"', f'"hostname": "host{host}"', fingerprint))
