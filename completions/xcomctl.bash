_xcomctl() {
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
