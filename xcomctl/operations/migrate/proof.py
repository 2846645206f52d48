"""Whether Airflow, as it is configured here, reads what a migration writes: tried, not concluded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from xcomctl.backend import payload
from xcomctl.backend.reference import OWN_FOLDER, Address, parse
from xcomctl.backend.storage import Store
from xcomctl.compat import airflow_installed
from xcomctl.errors import MetadataError, StorageError
from xcomctl.operations.migrate.terms import Pair

SECONDS = 120
SAMPLE = json.dumps({"xcomctl": ["a sample that a migration reads back", "ünï 😀", 1.5, None]})


def wrong_with_a_sample(store: Store, base: Address, codec: str | None, *, dry_run: bool) -> str | None:
    """Write an object as a migration does, and let Airflow read it; what is wrong, or None. A dry run writes none."""
    if not airflow_installed():
        return "it is not installed here, so whether it does cannot be tried"
    if dry_run:
        return None
    suffix = payload.SUFFIX_OF[codec] if codec else ""
    folder = f"{base.text.rstrip('/')}/{OWN_FOLDER}/sample/{uuid4()}"
    address = parse(f"{folder}/{uuid4()}{suffix}")
    if address is None:
        return f"{base.text} is no base path"
    data = SAMPLE.encode()
    store.create(address.location.name, payload.compress(data, codec) if codec else data)
    try:
        (answer,) = read_back([Pair(address.text, SAMPLE)])
    finally:
        with suppress(StorageError):
            store.discard([address.location.name])
    return answer


def read_back(pairs: Sequence[Pair]) -> list[str | None]:
    """What is wrong with each, or None. Raises `MetadataError` where Airflow does not start."""
    with TemporaryDirectory() as folder:
        asked, answered = Path(folder, "asked.json"), Path(folder, "answered.json")
        asked.write_text(json.dumps([{"value": pair.value, "reference": pair.reference} for pair in pairs]))
        module = f"{__package__}.inside_airflow"
        # Airflow 2 would unpickle what it reads here if it was told to; a value that was pickled is never read at all.
        environment = {**os.environ, "AIRFLOW__CORE__ENABLE_XCOM_PICKLING": "False"}
        try:
            done = subprocess.run(
                [sys.executable, "-m", module, str(asked), str(answered)],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise MetadataError(f"Airflow does not answer within {SECONDS} s", hint="run `airflow version`") from error
        if not answered.exists():
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise MetadataError(f"Airflow does not start: {last}", hint="run `airflow version` to see why")
        told = json.loads(answered.read_text())
    return [f"{told['backend']}: {answer}" if answer else None for answer in told["answers"]]
