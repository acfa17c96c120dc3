# The cache server with four worker threads; a client with four connections checks every answer.
packages='memcached python3'
executables='memcached'
limit=120

prepare() { python3 -c 'import os, sys; print(os.path.realpath(sys.executable))' >interpreter; }

run() {
  source "$SCRIPTS/server.sh"
  local as_user=()
  [ "$(id -u)" -ne 0 ] || as_user=(-u root) # It refuses to be root without being told.
  start_server memcached -l 127.0.0.1 -p PORT -U 0 -t 4 -m 64 "${as_user[@]}"
  "$(<interpreter)" -S "$FIXTURES/cache_client.py" "$port"
  stop_server && echo "the server ended well"
}
