# A server of a script's own, on loopback, for as long as the script lives. To be sourced by bash.
#
#   start_server COMMAND… PORT …   starts it on a free port, put in place of the word PORT, and waits until it accepts;
#                                  sets $port and $server, its process
#   stop_server                    ends that process, and returns its exit status; with SERVER_TIME, a file, set: first adds to it a line for
#                                  each thread that begins with the nanoseconds of processor time that it took
#
# What it prints goes to server.log in the current folder.

server=''
port=''

accepts() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

start_server() {
  local attempt wait
  for attempt in 1 2 3 4 5; do
    port=$((20000 + RANDOM % 12000))
    ! accepts "$port" || continue
    "${@/#PORT/$port}" >>server.log 2>&1 &
    server=$!
    trap 'kill -9 $server 2>/dev/null || true' EXIT
    for wait in {1..100}; do
      ! accepts "$port" || return 0
      kill -0 "$server" 2>/dev/null || break # It died: perhaps somebody took the port just now.
      sleep 0.1
    done
    kill -9 "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  done
  echo "$* does not start; its last words:" >&2
  tail -n 10 server.log >&2
  return 1
}

stop_server() {
  local status=0
  [ -z "${SERVER_TIME:-}" ] || cat /proc/"$server"/task/*/schedstat >>"$SERVER_TIME" 2>/dev/null || true # A thread may have ended just now.
  kill -TERM "$server"
  wait "$server" || status=$?
  trap - EXIT
  return $status
}
