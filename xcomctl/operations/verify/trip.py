"""The checks of the class at work: a value goes out, comes back, and goes away, as in a task."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from importlib.util import find_spec
from typing import Any

from xcomctl import compat
from xcomctl.backend.reference import OWN_FOLDER
from xcomctl.backend.rules import Rule
from xcomctl.errors import DanglingError, ForbiddenError, XcomctlError
from xcomctl.operations.verify import driving, inside
from xcomctl.operations.verify.container import Container
from xcomctl.operations.verify.store import READ_ONLY, STORE
from xcomctl.operations.verify.terms import Answer, Probe, fail, ok, skipped, unknown, warn
from xcomctl.operations.verify.trials import Trials, verbs_on

VALUE: dict[str, Any] = {
    "text": 'grüße 東京 \N{GRINNING FACE} " \\ /',
    "nested": [{"a": [1, 2.5, None, True]}, [[]]],
    "": "",
}

SMALL: tuple[Any, ...] = ({"n": 1}, None, "12")
"""What stays in the row below a threshold, and must come back as it is: a number in a string, nothing, a structure."""

OURS = "xcomctl.backend.XComBackend"
UNSEEN = re.compile(r"(Variable|conn_id|Connection|connection) .*(does not exist|isn't defined|not found)|_NOT_FOUND")
NEVER_OUT = "this class was not seen to write an object"
MAY_LIST = "without s3:ListBucket a store does not say that something is not there"

CONTROL_KEY = "skipmixin_key"
CONTROL_BYTES = 4096
"""What a branch that skips a hundred tasks pushes."""

LARGEST_EDGE = 16_000_000


def _seen_by_tasks_only(ask: Callable[[Container], Answer]) -> Callable[[Container], Answer]:
    """Where a class asks for a Variable or a connection that only the API server knows, nothing can be told here."""

    @wraps(ask)
    def asked(container: Container) -> Answer:
        try:
            return ask(container)
        except Exception as error:  # of the class
            if container.version < (3,) or not UNSEEN.search(str(error)) or inside.has_database():
                raise
            return unknown(
                f"the class asks for what only the API server knows: {compat.told(error)}",
                "run xcomctl verify-backend as a task, or where the database is",
            )

    return asked


@_seen_by_tasks_only
def cleanup(container: Container) -> Answer:
    """Whether what the class writes for a trial can be found and deleted again."""
    if container.read_only:
        return skipped(READ_ONLY)
    if container.uses_object_storage:
        return ok("trials are deleted one by one") if container.can_delete else skipped("needs delete")
    if container.rule is not None:
        return _by_rule(container, container.rule)
    if container.has_purge:
        with driving.pushed(container, VALUE):  # before there are more of them: is it really gone?
            return ok(f"{container.name} has a purge of its own")
    return unknown(
        f"{container.name} does not delete its objects, so a trial would leave one behind",
        "say --rule NAME, or --rules FILE, which tells where they are: xcomctl migrate has the same rules",
    )


def _by_rule(container: Container, rule: Rule) -> Answer:
    root = container.rule_root or rule.base()
    container.rule_root = root
    if root.conn_id is not None and (found := inside.connection(root.conn_id).connection) is not None:
        container.hide(*inside.secrets_of(found))
    filesystem = compat.filesystem(root.protocol, root.location.scheme, root.conn_id, {})
    container.trials = Trials(verbs_on(root.location, filesystem), root.location, driving.folder_of(rule, container))
    return ok(f"by the rule {rule.name}, objects are at {root.text}")


@_seen_by_tasks_only
def round_trip(container: Container) -> Answer:
    """A value with everything awkward in it, under run ids with everything awkward in them."""
    value = {**VALUE, "padding": "x" * (container.threshold if 0 < container.threshold <= LARGEST_EDGE else 0)}
    run_ids, where = driving.run_ids_of(container), set()
    for pushed, run_id in [*((value, run_id) for run_id in run_ids), *((small, run_ids[0]) for small in SMALL)]:
        with driving.pushed(container, pushed, run_id=run_id) as sent:
            where.add("an object" if sent.is_external else "the row")
            back = driving.pulled(container, sent)
        if type(back) is not type(pushed) or back != pushed:
            told = f"a task would get {_short(back)} instead of {_short(pushed)}"
            if container.is_stock and isinstance(pushed, str):
                return warn(f"{told}: Airflow's own class decodes small strings twice on Airflow 2", f"use {OURS}")
            return fail(f"{told}, in the run {run_id}")
    told = f"the values came back from {' and '.join(sorted(where))}, in {len(run_ids)} run{'s'[: len(run_ids) - 1]}"
    if not container.uses_object_storage and (mixed_up := _mixed_up(container)) is not None:
        return mixed_up
    if container.threshold > LARGEST_EDGE:
        return warn(
            f"{told}: an object is first made of {container.threshold} bytes, which is too large to try",
            "with a threshold of some megabytes the database stays small, and this can be tried",
        )
    return ok(told)


def _mixed_up(container: Container) -> Answer | None:
    """What a class of one's own may get wrong as soon as there is more than one XCom, or more than one who pulls."""
    with (
        driving.pushed(container, {**VALUE, "n": 1}, key="one") as one,
        driving.pushed(container, {**VALUE, "n": 2}, key="two") as two,
        driving.pushed(container, {**VALUE, "n": 3}, key="two", map_index=1) as mapped,
    ):
        for sent in (one, two, mapped, one):
            back = driving.pulled(container, sent)
            if back != sent.value:
                what = f"the key {sent.key} at map index {sent.map_index}"
                return fail(
                    f"a task would get {_short(back)} for {what}: XComs of one task overwrite each other, or can"
                    " be read but once",
                    "give each object a name of its own, such as a uuid",
                )
        try:
            driving.pulled_with_others(container, mapped)
        except Exception as error:  # whatever the class raises
            why = f"a pull from mapped tasks, where Airflow hands over the value alone, fails: {compat.told(error)}"
            return warn(why, "ask the result for its value only")
    return None


def dataframe(container: Container) -> Answer:
    """A DataFrame, where pandas is installed."""
    was_seen = container.has_gone_out or container.uses_object_storage
    if container.in_haste and was_seen:
        return skipped("not tried with -q: to load pandas takes as long as all the rest")
    if find_spec("pandas") is None:
        return skipped("pandas is not installed here") if was_seen else warn(f"all values stay in the row: {NEVER_OUT}")
    import pandas

    frame = pandas.DataFrame({"n": [1, 2], "text": ["a", "ü"]})
    try:
        with driving.pushed(container, frame) as sent:
            back = driving.pulled(container, sent)
    except XcomctlError:
        raise
    except Exception as error:  # of the class, or of what it writes with
        return warn(f"it does not take a DataFrame: {compat.told(error)}", "pip install pyarrow, or push none")
    if type(back) is not type(frame) or not frame.equals(back):
        return warn(f"a task would get {_short(back)} instead of a DataFrame", "pip install pyarrow, or push none")
    if not (sent.is_external or was_seen):
        return warn(f"a DataFrame stays in the row, as all values do: {NEVER_OUT}")
    return ok(f"a DataFrame came back from {'an object' if sent.is_external else 'the row'}")


def threshold_edge(container: Container) -> Answer:
    """A value of exactly the threshold goes out, and one that is a byte shorter stays."""
    if not container.uses_object_storage:
        return skipped(f"{container.name} does not read [common.io]")
    edge = container.threshold
    if edge > LARGEST_EDGE:
        return skipped(f"a value of {edge} bytes is too large to try")
    with driving.pushed(container, _of_size(max(edge, 1))) as at:
        if not at.is_external:
            return fail(f"a value of exactly {max(edge, 1)} bytes stays in the row", "is another class at work?")
    if edge < 2:
        return ok("every value goes out")
    with driving.pushed(container, _of_size(edge - 1)) as below:
        if below.is_external:
            return fail(f"{edge - 1} bytes go out though the threshold is {edge}", "is another class at work?")
    return ok(f"{edge} bytes go out, {edge - 1} stay")


def control_keys(container: Container) -> Answer:
    """What the scheduler reads from the row itself stays there."""
    with driving.pushed(container, {"skipped": ["x" * CONTROL_BYTES]}, key=CONTROL_KEY) as sent:
        if not sent.is_external:
            return ok(f"{CONTROL_KEY} stays in the row")
    if container.version < (3,):
        return ok(f"{CONTROL_KEY} goes out: Airflow 2 reads it through the class")
    if container.version >= (3, 4):
        return ok(f"{CONTROL_KEY} goes out: Airflow {container.release} does not ask the class about it")
    return warn(
        f"{CONTROL_KEY} goes out, where the scheduler of Airflow {container.release} never reads it: branches do not"
        " skip (apache/airflow#50491)",
        f"set a threshold above what branches push, or use {OURS}",
    )


def purge(container: Container) -> Answer:
    """What the class purges is gone."""
    if not container.has_purge:
        return warn(
            f"{container.name} has no purge: every retry and every clear leaves an object",
            "xcomctl gc deletes what no row refers to",
        )
    with driving.pushed(container, _large(container), purged=False) as sent:
        if not sent.is_external:
            return skipped("the value stays in the row: there is nothing to purge")
        driving.purge(container, sent)
        try:
            is_there = driving.is_there(container, sent)
        except ForbiddenError as error:
            return unknown(f"whether the object is gone is not to be seen: {error.message}", MAY_LIST)
        if is_there:
            return fail(
                f"{container.name}.purge leaves the object where it is",
                "every retry and every clear leaves one more: xcomctl gc deletes them",
            )
    return ok("the object is gone")


def lost_object(container: Container) -> Answer:
    """A task that pulls an XCom whose object is gone is told so."""
    with driving.pushed(container, _large(container), purged=False) as sent:
        if not sent.is_external:
            return skipped("the value stays in the row: there is nothing to lose")
        if sent.address is not None:
            driving.trials_of(container).store.discard([sent.address.location.name])
        else:
            driving.purge(container, sent)
        try:
            back = driving.pulled(container, sent)
        except Exception as error:  # whatever another class raises, a task sees it
            if container.is_ours and container.may_list and not isinstance(error, DanglingError):
                return fail(f"a task is not told that the object is gone, but {compat.told(error)}")
            return ok(f"a task gets {type(error).__name__}")
    return warn(
        f"a task gets {_short(back)} as if it were the value",
        f"{OURS} raises an error instead; xcomctl ls --check finds such XComs",
    )


def tidied(container: Container) -> Answer:
    """Delete what the checks have written, and say what could not be deleted."""
    if container.read_only or not (container.trials or container.left_behind or container.has_gone_out):
        return skipped("nothing was written")
    if container.trials is not None:
        container.trials.tidy()
    if container.left_behind:
        return fail(f"left behind: {', '.join(container.left_behind)}", "delete by hand what lies there")
    if container.trials is not None and container.trials.left_versions:
        kept = len(container.trials.left_versions)
        return warn(
            f"the bucket keeps versions of {kept} deleted objects below {container.trials.root.url}",
            f"allow s3:ListBucketVersions and s3:DeleteObjectVersion below {OWN_FOLDER}/, or let a rule of the bucket"
            " expire what is not current",
        )
    return ok("nothing is left behind")


def _large(container: Container) -> Any:
    return _of_size(min(max(container.threshold, 1), LARGEST_EDGE))


def _of_size(size: int) -> Any:
    """A value whose JSON has exactly so many bytes."""
    return 1 if size == 1 else "x" * (size - 2)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


PROBES: tuple[Probe[Container], ...] = (
    Probe("cleanup", cleanup, ("signatures",), ("threshold", "compression", "own-options"), asks=STORE),
    Probe("round-trip", round_trip, ("cleanup",), asks=STORE),
    Probe("dataframe", dataframe, ("round-trip",), asks=STORE),
    Probe("threshold-edge", threshold_edge, ("round-trip",), asks=STORE),
    Probe("control-keys", control_keys, ("round-trip",), asks=STORE),
    Probe("purge", purge, ("round-trip",), asks=STORE),
    Probe("lost-object", lost_object, ("round-trip",), asks=STORE),
    Probe("nothing-left", tidied),
)
