# The key-value server with its I/O threads, under its own load generator, on loopback. Its data set has a digest.
packages='redis-server redis-tools'
executables='redis-server redis-benchmark'
limit=120

prepare() { :; }

run() {
  source "$SCRIPTS/server.sh"
  start_server redis-server --port PORT --bind 127.0.0.1 --save '' --appendonly no --daemonize no --enable-debug-command yes \
    --io-threads 2 --io-threads-do-reads yes --maxmemory 256mb
  ask() { redis-cli -h 127.0.0.1 -p "$port" "$@"; }
  redis-benchmark -h 127.0.0.1 -p "$port" -q -n 30000 -c 40 -P 8 --threads 2 -d 200 \
    -t set,get,incr,lpush,rpush,lpop,sadd,hset,zadd,lrange_100,mset | tr '\r' '\n' | grep -oE '^[A-Z_]+.*: [0-9.]+ requests' |
    sed 's/: .*//' # The rates differ from run to run, the tests done do not.
  ask flushall
  ask eval '
    for i = 1, 30000 do
      redis.call("set", "key:" .. i, string.rep("v", i % 500))
      redis.call("hset", "hash:" .. i % 300, "field" .. i, i)
      redis.call("zadd", "board", i * 7919 % 10007, "player" .. i)
      if i % 4 == 0 then redis.call("del", "key:" .. i - 2) end
      if i % 5 == 0 then redis.call("append", "key:" .. i, string.rep("x", i % 900)) end
    end
    return redis.call("dbsize")' 0
  ask debug digest
  ask zrange board 100 104
  ask debug reload nosave noflush >/dev/null 2>&1 || true
  ask info commandstats | grep -c calls=
  stop_server && echo "the server ended well"
}
