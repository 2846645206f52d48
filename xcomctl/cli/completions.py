"""`xcomctl completions`: what a shell needs to complete the command line.

The scripts ask xcomctl itself, so that they never go stale; `cli/completing.py` says what it answers.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from xcomctl.cli import render


class Shell(str, Enum):
    """The shells that there is a script for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


BASH = r"""_xcomctl() {
    local program=$1 todo='' reply
    [[ $program == '~/'* ]] && program=$HOME/${program#'~/'}
    type -P -- "$program" >/dev/null || program=xcomctl  # an alias
    COMPREPLY=()
    {
        IFS= read -r todo
        while IFS= read -r reply; do COMPREPLY+=("$reply"); done
    } < <(_XCOMCTL_COMPLETE=bash "$program" "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null)
    type compopt &>/dev/null || return 0
    compopt -o nosort 2>/dev/null
    [[ $todo == *files* ]] && compopt -o default
    [[ $todo == *nospace* ]] && compopt -o nospace
    return 0
}

complete -F _xcomctl xcomctl
"""

ZSH = r"""#compdef xcomctl

_xcomctl() {
  local program=${(Q)words[1]} line
  local -a lines values shown space
  program=${program/#\~\//$HOME/}
  lines=("${(@f)$(_XCOMCTL_COMPLETE=zsh $program "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
  for line in "${(@)lines[2,-1]}"; do
    values+=("${line%%$'\t'*}")
    shown+=("${line%%$'\t'*}${${line#*$'\t'}:+  -- ${line#*$'\t'}}")
  done
  [[ $lines[1] == *nospace* ]] && space=(-S '')
  [[ $lines[1] == *files* ]] && _files && return
  (( $#values )) && compadd -V values "${(@)space}" -l -d shown -a values
}

# Sourced, this file registers; found in fpath, it is itself what completes.
if [[ $funcstack[1] = _xcomctl ]]; then
  _xcomctl "$@"
else
  compdef _xcomctl xcomctl
fi
"""

FISH = r"""function __xcomctl_complete
    set -l words (commandline -opc)
    set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
    set -e words[1]
    set -l lines (env _XCOMCTL_COMPLETE=fish $program $words (commandline -ct) 2>/dev/null)
    if string match -q '*files*' -- $lines[1]
        __fish_complete_path (commandline -ct)
    end
    set -e lines[1]
    string join \n -- $lines
end

complete --command xcomctl --no-files --keep-order --arguments '(__xcomctl_complete)'
"""

SCRIPTS = {Shell.BASH: BASH, Shell.ZSH: ZSH, Shell.FISH: FISH}


def completions(shell: Annotated[Shell, typer.Argument(help="The shell to print the script for.")]) -> None:
    """Print a completion script.

    With it TAB completes commands, flags and choices, and also the DAGs, runs, tasks and keys of the database that --db
    on the line, XCOMCTL_DB, AIRFLOW__DATABASE__SQL_ALCHEMY_CONN or airflow.cfg names. A database that does not answer
    at once is not waited for. A wheel brings the scripts along, in the places below its prefix where shells look.

    Examples:

      source <(xcomctl completions bash)
        In this bash, or from ~/.bashrc in each.

      xcomctl completions bash > ~/.local/share/bash-completion/completions/xcomctl
        For bash with the package bash-completion, in a folder that you have made.

      xcomctl completions zsh > "${fpath[1]}/_xcomctl"
        For zsh, before its compinit.

      xcomctl completions fish > ~/.config/fish/completions/xcomctl.fish
        For fish, in a folder that you have made.

    Exit status:

      0 2
      12  The output could not be written.
    """
    render.write(SCRIPTS[shell])
