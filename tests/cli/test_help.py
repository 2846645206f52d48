"""Help: examples first, exit codes that are true, variables that work, topics; and what is offered for a mistake."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cli.conftest import XCOMCTL, Run, place
from tests.operations.scene import Scene
from xcomctl import settings
from xcomctl.cli.app import command_line
from xcomctl.cli.manual import manual_of
from xcomctl.cli.topics import TOPICS, flags
from xcomctl.errors import SIGNALS, ExitCode

ROOT = Path(__file__).parents[2]
TREE = command_line()
MANUALS = {name: manual_of(command.help) for name, command in TREE.commands.items()}

pytestmark = [pytest.mark.databases("sqlite-3.3"), pytest.mark.stores("file")]


class TestPages:
    @pytest.mark.parametrize("name", MANUALS)
    def test_examples_lead_then_the_description_the_exit_codes_and_the_options(self, cli: Run, name):
        page, manual = cli(name, "--help", COLUMNS="110").text, MANUALS[name]
        joined = " ".join(page.split())
        said = [manual.summary, "Examples:", *manual.description, "Exit status:", "-h, --help"]
        places = [joined.index(" ".join(each.split())) for each in said]
        assert places == sorted(places) and page.startswith(f"Usage: xcomctl {name} [OPTIONS]")

    @pytest.mark.parametrize("name", MANUALS)
    def test_every_example_is_one_and_says_what_it_does(self, name):
        """Typer takes each of them apart without an error."""
        assert MANUALS[name].examples
        for line, what in MANUALS[name].examples:
            assert what.endswith((".", "?")) and len(what) < 90
            words = shlex.split(re.sub(r"^source <\((.*)\)$|>.*$", r"\1", line))
            assert words[:2] == ["xcomctl", name]
            TREE.commands[name].make_context(name, words[2:], parent=None)

    @pytest.mark.parametrize("columns", [60, 80, 110])
    @pytest.mark.parametrize(
        "words", [(), *((name, "--help") for name in MANUALS), *(("help", each) for each in TOPICS)]
    )
    def test_it_fits_off_a_terminal(self, cli: Run, words, columns):
        shown = cli(*(words or ("--help",)), COLUMNS=str(columns))
        too_long = [line for line in shown.text.splitlines() if len(line) > columns and len(line.split()) > 1]
        assert (shown.code, shown.err, too_long) == (0, "", [])
        assert "\x1b" not in shown.text and not any(line.endswith(" ") for line in shown.text.splitlines())

    @pytest.mark.parametrize("columns", [60, 110])
    def test_it_fits_a_terminal(self, terminal: Run, columns):
        shown = terminal("get", "--help", columns=columns)
        assert "\x1b[1mExamples:\x1b[0m" in shown.text and max(map(len, shown.lines)) <= columns
        for plain in ({"TERM": "dumb"}, {"NO_COLOR": "1"}):
            assert terminal("get", "--help", columns=columns, **plain).lines == shown.lines
            assert "\x1b" not in terminal("get", "--help", columns=columns, **plain).text

    def test_brackets_are_no_markup(self, cli: Run):
        assert "--path 'scores[0]'" in cli("get", "--help").text and "--sort [-]FIELD" in cli("ls", "--help").text

    def test_an_example_of_two_lines_can_be_copied(self, cli: Run):
        page = cli("gc", "--help", COLUMNS="60").text
        first, second = re.search(r"  (xcomctl gc --explain) \\\n\s+(s3://\S+)\n", page).groups()
        assert (f"{first} {second}") in [line for line, _ in MANUALS["gc"].examples]

    def test_the_list_of_commands_has_their_first_sentences(self, cli: Run):
        page = cli("--help", COLUMNS="110").text
        joined = " ".join(page.split())
        assert all(f"{name} {manual.summary}" in joined for name, manual in MANUALS.items())
        assert all(f"{name} {topic.summary}" in joined for name, topic in TOPICS.items())

    def test_help_loads_no_rich_that_typer_has_not_loaded(self, bare):
        script = (
            "import sys, typer; before = 'rich' in sys.modules; from xcomctl.cli import main; main(['gc', '--help']);"
            "print(before == ('rich' in sys.modules))"
        )
        done = subprocess.run([sys.executable, "-c", script], env=bare, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "True"


class TestVariables:
    def test_they_work(self, cli: Run, scene: Scene):
        for number in range(3):
            scene.push(f"dag{number}", key=f"k{number}")
        where = place(scene)

        def listed(**variables: str) -> list[str]:
            return cli("ls", *where, **variables).text.splitlines()

        assert len(listed()) == 3
        assert listed(XCOMCTL_DAG_ID="dag1", XCOMCTL_COLUMNS="key") == ["k1"]
        assert listed(XCOMCTL_DAG_ID="dag1 dag2", XCOMCTL_COLUMNS="key", XCOMCTL_SORT="-key") == ["k2", "k1"]
        assert listed(XCOMCTL_LIMIT="1", XCOMCTL_COLUMNS="key,dag_id", XCOMCTL_SORT="key") == ["k0\tdag0"]
        assert listed(XCOMCTL_EXCLUDE_KEY="k*") == []
        assert listed(XCOMCTL_STATE="inline") == []
        checked = cli("ls", *where, XCOMCTL_CHECK="true", XCOMCTL_OUTPUT="json").json
        assert {each["object_size_bytes"] for each in checked} == {3}
        named = {"XCOMCTL_DB": where[1], "XCOMCTL_BASE_PATH": where[3]}
        assert len(cli("ls", **named).text.splitlines()) == 3
        assert cli("gc", **named, XCOMCTL_DRY_RUN="1", XCOMCTL_OUTPUT="json").json["dry_run"] is True
        assert cli("ls", *where, XCOMCTL_QUIET="1", XCOMCTL_LIMIT="1").err == ""

    def test_the_command_line_comes_first(self, cli: Run, scene: Scene):
        scene.push("dag", key="k")
        shown = cli("ls", *place(scene), "--columns", "key", XCOMCTL_COLUMNS="dag_id", XCOMCTL_DAG_ID="dag")
        assert shown.text == "k\n"


class TestTopics:
    def test_help_is_help(self, cli: Run):
        assert cli("help").out == cli("--help").out
        assert all(cli("help", name).out == cli(name, "--help").out for name in MANUALS if name not in TOPICS)

    def test_environment_has_every_variable(self, cli: Run):
        page = cli("help", "environment").text
        variables = {flag.envvar for _, flag in flags(TREE) if flag.envvar}
        airflows = {value for name, value in vars(settings).items() if name.endswith("_ENV")}
        assert len(variables) > 40 and {each for each in variables | airflows if f"  {each}" not in page} == set()

    def test_exit_codes_has_every_code_and_command(self, cli: Run):
        page = " ".join(cli("help", "exit-codes").text.split())
        assert all(f" {int(code)} {code.meaning}" in page for code in ExitCode)
        for name, manual in MANUALS.items():
            assert f" {name} {', '.join(str(int(code)) for code in manual.exits)} " in page

    def test_output_and_gc(self, cli: Run):
        output, gc = cli("help", "output").text, cli("help", "gc").text
        assert all(word in output for word in ("jsonl", "object_size_bytes", "dangling", "NO_COLOR", "operation_id"))
        assert all(word in gc for word in ("--confirm-after", "--single-pass", "--allow GATE", "xcomctl restore"))

    def test_what_gc_says_of_itself_is_so(self):
        from xcomctl.operations import gc

        page = TOPICS["gc"].page(TREE).replace("\n", " ")
        assert f"--older-than ({gc.OLDER_THAN.days} days)" in page
        assert f"--confirm-after ({gc.CONFIRM_AFTER.seconds // 3600} hours)" in page
        assert f"--keep-trash ({gc.KEEP_TRASH.days} days)" in page
        assert f"objects of {gc.SINGLE_PASS_OLDER_THAN.days} days and more" in page


class TestMistakes:
    """Two lines, exit code 2, and the nearest thing that is right."""

    @pytest.mark.parametrize(
        ("words", "says", "hint"),
        [
            (("lss",), "no such command 'lss'", "hint: did you mean ls?"),
            (("verify",), "no such command 'verify'", "hint: did you mean verify-backend?"),
            (("lss", "--help"), "no such command 'lss'", "hint: did you mean ls?"),
            (("xyzzy",), "no such command 'xyzzy'", "hint: xcomctl --help lists them"),
            (("help", "enviroment"), "no such topic 'enviroment'", "hint: did you mean environment?"),
            (("help", "exit_codes"), "no such topic 'exit_codes'", "hint: did you mean exit-codes?"),
            (("help", "migrat"), "no such topic 'migrat'", "hint: did you mean migrate?"),
            (("help", "xyzzy"), "no such topic 'xyzzy'", "hint: xcomctl help lists them"),
            (("ls", "--dagid", "x"), "no such option --dagid", "hint: did you mean --dag-id?"),
            (("gc", "--confirmafter=1h"), "no such option --confirmafter", "hint: did you mean --confirm-after?"),
            (("ls", "-Z"), "no such option -Z", "hint: xcomctl ls --help"),
            (("--dag-id", "x", "ls"), "no such option --dag-id", "stand after the command: xcomctl COMMAND --dag-id"),
            (("-o", "json", "ls"), "no such option -o", "stand after the command: xcomctl COMMAND -o"),
            (("ls", "etl"), "unexpected extra argument", "hint: --dag-id chooses DAGs; xcomctl ls --help"),
            (("get", "etl"), "Missing argument RUN_ID", "hint: xcomctl get [OPTIONS] DAG_ID RUN_ID TASK_ID; "),
            (("ls", "-o", "jsn"), "'jsn' is not one of 'auto'", "hint: did you mean json?"),
            (("ls", "-o", "JSON"), "'JSON' is not one of 'auto'", "hint: did you mean json?"),
            (("completions", "bsh"), "Invalid value for SHELL: 'bsh' is not one of", "hint: did you mean bash?"),
            (("ls", "--sort", "dagid"), "--sort: there is no 'dagid'", "hint: did you mean dag_id? one of dag_id"),
            (("version",), "no such command 'version'", "hint: did you mean --version?"),
            (("ls", "--json"), "no such option --json", "hint: did you mean -o json?"),
            (("ls", "--db"), "--db", "hint: xcomctl ls --help"),
            (("ls", "--columns", "keys"), "--columns: there is no 'keys'", "hint: did you mean key? one of "),
            (("gc", "-n", "--allow", "replicas"), "there is no 'replicas'", "hint: did you mean replica? one of "),
        ],
    )
    def test_the_nearest_is_offered(self, cli: Run, words, says, hint):
        failed = cli(*words)
        failed.failed(2, says, hint)
        assert "Value error" not in failed.err and "env var" not in failed.err and "Did you" not in failed.err

    def test_a_variable_is_named_where_the_mistake_is_there(self, cli: Run):
        cli("ls", XCOMCTL_OUTPUT="jsn").failed(2, "XCOMCTL_OUTPUT: ", "did you mean json?")
        cli("ls", XCOMCTL_COLUMNS="kye").failed(2, "XCOMCTL_COLUMNS: --columns: there is no 'kye'", "did you mean key?")
        cli("ls", "--since", "7d", XCOMCTL_OLDER_THAN="old").failed(2, "XCOMCTL_OLDER_THAN: --older-than 'old'", "7d")
        assert "XCOMCTL" not in cli("ls", "--columns", "kye", XCOMCTL_SORT="key").err


ELSEWHERE = {
    ("gc", 1): ("cli/test_gc.py", 'done.code == 1 and done.text.rstrip().endswith("nothing was deleted")'),
    ("gc", 3): ("cli/test_gc.py", 'done.code == 3 and done.json["status"] == "partial"'),
    ("gc", 5): ("cli/test_gc.py", '"--allow", "max-delete").code == 5'),
    ("gc", 11): ("cli/test_gc_ledger.py", '.failed(11, "is at work here"'),
    ("restore", 0): ("cli/test_gc_ledger.py", '"--yes", "-o", "json").json["restored"] == 1'),
    ("restore", 1): ("cli/test_gc_ledger.py", 'no.code == 1 and "Bring back 1 object" in no.text'),
    ("restore", 3): ("cli/test_gc_ledger.py", 'report["status"]) == (0, 1, "partial")'),
    ("restore", 11): ("cli/test_gc_killed.py", "assert codes == {ExitCode.LOCKED}"),
    ("migrate", 1): ("cli/test_migrate.py", 'typed=b"n\\n").code == 1'),
    ("migrate", 3): ("cli/test_migrate.py", '(3, "partial", "not_json", "csv")'),
    ("migrate", 5): ("operations/test_migrate.py", "account.exit_code is ExitCode.REFUSED"),
    ("migrate", 11): ("operations/test_migrate.py", "pytest.raises(LockedError)"),
    ("preflight", 1): ("cli/test_preflight.py", "cut.code == whole.code == 1"),
    ("rm", 1): ("cli/test_rm.py", "refused.code == 1 and keys(full) == rows"),
    ("rm", 3): ("operations/test_rm.py", "(ExitCode.PARTIAL, 1, set())"),
    ("rm", 5): ("operations/test_rm.py", "account.exit_code is ExitCode.REFUSED"),
    ("rm", 11): ("cli/test_rm.py", '.failed(11, "gc gc\'s", "wait for it")'),
    ("restore", 12): ("cli/test_gc_ledger.py", '.failed(12, "does not exist", "mounted")'),
    ("verify-backend", 0): ("airflow/test_verify_backend.py", '(done.code, done.out, done.err) == (0, "", "")'),
    ("demo", 0): ("demo/test_tour.py", "exit_code"),
    ("demo", 1): ("../xcomctl/cli/demo.py", "ExitCode.NO if any(codes) else ExitCode.OK"),
    ("demo", 10): ("demo/test_build.py", "pytest.raises(MetadataError"),
    ("demo", 12): ("../xcomctl/cli/__init__.py", 'StorageError(f"cannot write: '),
}
"""Where else a command is seen to answer with a code: a file, and words of the test there. A demo takes a minute."""


class TestExitCodes:
    @pytest.mark.parametrize("name", MANUALS)
    def test_each_code_that_is_said_is_answered_and_no_other(self, bare, scene: Scene, name):
        seen = {code for command, code in ELSEWHERE if command == name}
        for words, variables, out in self.tried(name, scene):
            with Path(out).open("wb") as stdout:
                done = subprocess.run(
                    [*XCOMCTL, name, *words],
                    env={**bare, **variables},
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=subprocess.PIPE,
                    timeout=60,
                    check=False,
                )
            assert done.returncode in MANUALS[name].exits, (words, done.stderr)
            seen.add(done.returncode)
        assert seen == {int(code) for code in MANUALS[name].exits}

    def tried(self, name: str, scene: Scene) -> list[tuple[tuple[str, ...], dict[str, str], str]]:
        """Command lines that end in many ways: words, variables, and where stdout goes."""
        scene.push("d", "r", "t", key="k")
        scene.leak("d")
        scene.world.push("d", "r", "t", key="gone", value=json.dumps(f"{scene.base.text}/d/r/t/{uuid4()}"))
        where, nowhere = place(scene), ("--db", "sqlite:////nonexistent.db")
        unset, broken = {}, {settings.BASE_PATH_ENV: "nonsense"}
        no_folder = (*where[:2], "--base-path", "file:///nonexistent/folder")
        both = lambda *words: [((*words,), unset, "/dev/null"), ((*words,), unset, "/dev/full")]  # noqa: E731
        mistake = (("--nope",), unset, "/dev/null")
        lost = (nowhere, unset, "/dev/null")
        return [mistake, *{
            "ls": [*both(*where), lost],
            "get": [
                *both("d", "r", "t", "--key", "k", *where),
                (("d", "r", "t", *where), unset, "/dev/null"),
                (("d", "r", "t", *nowhere), unset, "/dev/null"),
            ],
            "du": [*both(*where), lost],
            "fsck": [*both(*where, "--only", "orphan", "-o", "json"), (where, unset, "/dev/null"), lost],
            "gc": [
                *both("-n", *where),
                (("-n", *nowhere), unset, "/dev/null"),
                (("--explain", "nothing/like/it", *where), unset, "/dev/null"),
            ],
            "restore": [
                (("x", "-n", *where), unset, "/dev/null"),
                (("x", "-n"), broken, "/dev/null"),
                (("x", "-n", *no_folder), unset, "/dev/null"),
            ],
            "migrate": [
                *both("-n", "--threshold", "0", "--allow", "backend", *where),
                (("-n", "--threshold", "0", *nowhere), unset, "/dev/null"),
            ],
            "preflight": [
                *both("--target", "3.3.2", *where),
                (("--target", "3.3.2", "-o", "json", *where), unset, "/dev/full"),
                (("--target", "3.3.2", *nowhere), unset, "/dev/null"),
            ],
            "rm": [*both("-n", "--dag-id", "*", *where), (("-n", "--dag-id", "*", *nowhere), unset, "/dev/null")],
            "verify-backend": [
                (("--compare", "/nonexistent", "/etc/hostname"), unset, "/dev/null"),
                (("--read-only",), unset, "/dev/full"),
            ],
            "completions": both("bash"),
            "help": both("exit-codes"),
            "demo": [],
        }[name]]  # fmt: skip

    def test_the_words_elsewhere_are_there(self):
        missing = [key for key, (file, words) in ELSEWHERE.items() if words not in (ROOT / "tests" / file).read_text()]
        assert missing == []

    def test_signals_are_said_of_all(self, cli: Run):
        listed = ", ".join(str(int(code)) for code in SIGNALS)
        assert all(f"  {listed}  " in cli(name, "--help").text for name in MANUALS)
