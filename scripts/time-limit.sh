# For scripts that run tests: how long all of it may take together, and what took longest. To be sourced, at the start.

LIMIT=${LIMIT:-15}
limit_seconds=$(awk -v minutes="$LIMIT" 'BEGIN { if (minutes !~ /^[0-9]*\.?[0-9]+$/ || minutes <= 0) exit 1; printf "%d", minutes * 60 + 0.5 }') ||
  { echo "LIMIT takes minutes, not '$LIMIT'" >&2; exit 64; }

# slowest FILE: the ten lines of it, SECONDS NAME, with the most seconds.
slowest() {
  echo "== what took longest"
  sort -rn "$1" | head -n 10 | awk '{ seconds = $1; $1 = ""; printf "%6d s %s\n", seconds, $0 }'
}

# within_limit WHAT: says how long it took, and fails when that was too long.
within_limit() {
  if [ "$SECONDS" -gt "$limit_seconds" ]; then
    echo "== $1 FAILED: it took $SECONDS s, and may take $limit_seconds s ($LIMIT minutes; LIMIT=minutes allows a slow machine more)"
    return 1
  fi
  echo "== $1: $SECONDS s of at most $limit_seconds"
}
