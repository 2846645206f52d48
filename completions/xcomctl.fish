function __xcomctl_complete
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
