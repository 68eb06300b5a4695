# A server with I/O threads under load, with snapshots by fork in the middle of it, and its data read back.
# needs: redis-server
# needs: redis-benchmark
# exit: 1
cli() { redis-cli -s redis.sock "$@"; }
serve() {
  redis-server --port 0 --unixsocket redis.sock --io-threads 2 --io-threads-do-reads yes --save 1 100 \
    --enable-debug-command yes --daemonize no >>server.log 2>&1 &
  until cli ping 2>/dev/null | grep -x PONG >/dev/null; do sleep 0.02; done
}
serve
redis-benchmark -s redis.sock --threads 2 -q -c 20 -n 2000 -r 1000 -P 2 -d 150 \
  -t set,get,lpush,rpop,hset,zadd,mset,lrange_100 >load &
cli bgsave >/dev/null
wait $!
grep -c 'requests per second' load
cli flushall
cli eval 'for i = 1, 20000 do
  redis.call("set", "key:" .. i, string.rep("x", i % 300))
  redis.call("rpush", "list:" .. i % 100, i)
  redis.call("hset", "hash:" .. i % 50, "field" .. i, i % 77)
  redis.call("zadd", "set:" .. i % 20, i, "member" .. i % 999)
end' 0
cli eval 'local n = 0; for i = 1, 20000 do n = n + #redis.call("get", "key:" .. i) end; return n' 0
cli debug digest | tee before
cli bgrewriteaof >/dev/null
while cli info persistence | grep 'in_progress:1\|scheduled:1' >/dev/null; do sleep 0.02; done
cli info persistence | grep -o 'last_bgsave_status:ok\|last_bgrewrite_status:ok'
cli shutdown save
wait
serve
cli debug digest | cmp - before
cli dbsize
cli shutdown nosave
wait $!
echo "the server ended with $?"
echo "Now one that fails."
redis-server --nothing 1 >/dev/null 2>&1
