# Sourced by test scripts: the installed layout, a folder to build in, and one line a check.
#
#   . installed.sh PACKAGE…        asks for the Debian packages of what the script calls, `exports` included (binutils)
#
# MEMPOOL_PREFIX names a layout that `make install PREFIX=dir` made; without it one is made here.
set -u -o pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
"$root/scripts/need" "$@" || exit
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=${MEMPOOL_PREFIX:-}
if [ -z "$prefix" ]; then
  prefix=$work/prefix
  make -C "$root" install PREFIX="$prefix" >"$work/install.log" 2>&1 || { cat "$work/install.log" >&2; exit 1; }
fi
library=$prefix/lib/libmempool.so
malloc=$prefix/lib/libmempool-malloc.so
failed=0

# check NAME COMMAND…: runs it, a program at most a minute or $limit seconds, and shows its output when it fails.
check() {
  local name=$1 status watchdog=(timeout -k 5 "${limit:-60}")
  shift
  [ "$(type -t "$1")" != function ] || watchdog=()
  "${watchdog[@]}" "$@" >"$work/output" 2>&1 </dev/null
  status=$?
  if [ $status = 0 ]; then
    echo "ok      $name"
  else
    failed=$((failed + 1))
    echo "FAILED  $name (exit status $status)"
    sed 's/^/        /' "$work/output" | head -40
  fi
}

# told NAME COMMAND…: a check that also says, in its last line, how much it did. "N misuses" are added up.
misuses=0
told() {
  check "$@"
  tail -n 1 "$work/output" | sed "s/^/        /"
  local count
  count=$(sed -n '$s/^\([0-9]*\) misuses.*/\1/p' "$work/output")
  misuses=$((misuses + ${count:-0}))
}

# on_mempool COMMAND…: with the drop-in malloc preloaded.
on_mempool() { env LD_PRELOAD="$malloc" "$@"; }

# exports LIBRARY LIST: the dynamic symbols of a library are those of its list, and it needs libc and nothing else.
exports() {
  diff <(nm -D --defined-only "$1" | sed 's/.* //' | LC_ALL=C sort) <(LC_ALL=C sort "$2") || return 1
  local needed
  needed=$(readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
  [ "$needed" = libc.so.6 ] || { echo "$1 needs: $needed"; return 1; }
}

# documented ROW: README.md's row of this beginning says as many processes as misuses were told of.
documented() {
  local count
  count=$(sed -n "s/^| $1.*| \([0-9,]*\) processes.*/\1/p" "$root/README.md" | tr -d ,)
  [ "$count" = $misuses ] || { echo "README.md says ${count:-nothing}, and there were $misuses"; return 1; }
}

finish() {
  [ $misuses = 0 ] || echo "        $misuses misuses in all, each in a process of its own"
  [ $failed = 0 ] && exit 0
  echo "$failed failed"
  exit 1
}
