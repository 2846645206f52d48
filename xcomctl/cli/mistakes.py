"""What Typer finds wrong with a command line, in the words of xcomctl, with the nearest thing that is right."""

from __future__ import annotations

import re
from typing import Any

from xcomctl.cli.manual import choices_of, usage_of
from xcomctl.cli.options import did_you_mean
from xcomctl.errors import UsageError

_GUESS = re.compile(r"\s*(?:Did you mean [^?]*\?|\(Possible options: .*\))$")
"""What some versions of Typer add, and others do not."""

_VARIABLE = re.compile(r" \(env var: '\w+'\)")
_ARGUMENT = re.compile(r"^(Missing argument|Invalid value for) '[^']*'")
_NO_CHOICE = re.compile(r"'([^']*)' is not one of ")


ELSEWHERE = {"--format": "-o", "--json": "-o json", "--yaml": "-o yaml", "--csv": "-o csv", "-V": "--version"}
"""What other tools call it."""


def mistake(error: Any, message: str, command: str) -> UsageError:
    """The error of xcomctl for one of Typer's; `command` is what the line began with."""
    context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    message = _plain(message, parameter, context)
    if context is None:
        return UsageError(message, hint=f"{command} --help")
    flag = getattr(error, "option_name", None) if message.startswith("No such option") else None
    meant = _flag_meant(flag, context) if flag else _meant(message, parameter, context)
    return UsageError(f"no such option {flag}" if flag else message, hint=meant or f"{context.command_path} --help")


def _meant(message: str, parameter: Any, context: Any) -> str:
    command, asks = context.command, f"{context.command_path} --help"
    if refused := _NO_CHOICE.search(message):
        return did_you_mean(refused[1], choices_of(parameter))
    if message.startswith("Missing argument"):
        return f"{usage_of(command, context)}; {asks}"
    if "unexpected extra argument" in message and any("--dag-id" in each.opts for each in command.params):
        return f"--dag-id chooses DAGs; {asks}"
    return ""


def _plain(message: str, parameter: Any, context: Any) -> str:
    """The same in all versions of Typer; the environment variable is named where the value is from there."""
    message = _VARIABLE.sub("", _GUESS.sub("", " ".join(message.split()))).replace(": Value error, ", ": ")
    if parameter is not None and parameter.param_type_name == "argument":
        message = _ARGUMENT.sub(rf"\1 {parameter.metavar or parameter.name.upper()}", message)
    source = context.get_parameter_source(parameter.name) if parameter is not None and context is not None else None
    if source is not None and source.name == "ENVIRONMENT":
        return f"{parameter.envvar}: {message}"
    return message


def _flag_meant(name: str, context: Any) -> str:
    command = context.command
    if name in ELSEWHERE:
        return f"did you mean {ELSEWHERE[name]}?"
    if any(name in each.opts for one in getattr(command, "commands", {}).values() for each in one.params):
        return f"flags stand after the command: {context.command_path} COMMAND {name}"
    known = {each.strip("-"): each for one in command.get_params(context) for each in one.opts if each.startswith("--")}
    return did_you_mean(name.strip("-"), known).replace("mean ", "mean --") if name.startswith("--") else ""
