#!/bin/sh
# zsh and fish out of Debian's packages, below a folder, without being root. Where that cannot be, the tests that need
# them are skipped: shells.sh FOLDER
set -eu
folder=$1
mkdir -p "$folder"
cd "$folder"
command -v apt-get >/dev/null && command -v dpkg >/dev/null || { echo "no apt-get: zsh and fish are not tried"; exit 0; }
apt-get download -qq zsh-static zsh-common fish fish-common libpcre2-32-0 2>download.log \
  || { cat download.log; echo "apt-get has no packages for us: zsh and fish are not tried"; exit 0; }
for package in *.deb; do dpkg -x "$package" .; done
rm -f ./*.deb download.log
[ -e usr/etc ] || ln -s ../etc usr/etc # with both folders beside it fish takes its own, and not the system's
mkdir -p run
cat >run/zsh <<'END'
#!/bin/sh
here=$(dirname "$(dirname "$(readlink -f "$0")")")
FPATH=$(find "$here/usr/share/zsh/functions" -type d | tr '\n' ':')$here/usr/share/zsh/vendor-completions
export FPATH
exec "$here/bin/zsh-static" "$@"
END
cat >run/fish <<'END'
#!/bin/sh
here=$(dirname "$(dirname "$(readlink -f "$0")")")
LD_LIBRARY_PATH=$(find "$here/usr/lib" -maxdepth 1 -name '*-linux-*')
export LD_LIBRARY_PATH
exec "$here/usr/bin/fish" "$@"
END
chmod +x run/zsh run/fish
