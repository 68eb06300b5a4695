# A million lines, by two threads, in memory and with files in between.
# needs: sort
# exit: 1
seq 1000000 | rev >lines
sort --parallel=2 -S 200M lines | sha256sum
sort --parallel=2 -S 10M -n -T . lines | sha256sum
sort -u -k1.3,1.5 lines | sha256sum
echo "Now one that fails."
sort -c lines 2>/dev/null
