# Compressed by two threads and back.
# needs: xz
# exit: 1
seq 1 3 3000000 >numbers
xz -T2 -3 --block-size=1MiB -k numbers
sha256sum <numbers.xz
xz -T2 -dc numbers.xz | cmp - numbers
xz -l numbers.xz | tail -1
head -c 300000 numbers.xz >part.xz
{ xz -dc part.xz 2>/dev/null || echo "ended with $?"; } | sha256sum
echo "Now one that fails."
xz -T2 -t part.xz 2>/dev/null
