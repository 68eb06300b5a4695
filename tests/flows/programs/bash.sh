# A table kept in associative arrays, then processes, pipes, coprocesses and traps.
# needs: bash
# exit: 3
bash "$REPOSITORY/traces/programs/log.sh"
trap 'echo interrupted' USR1
kill -USR1 $BASHPID
for i in {1..60}; do
  read -r line < <(printf '%*d\n' $((i * 7)) "$i")
  total=$((${total:-0} + ${#line} + $(printf '%s' "$line" | wc -c)))
done
echo "$total"
coproc tr a-z A-Z
exec {answers}<&"${COPROC[0]}" # COPROC is gone as soon as tr has been seen to end
echo "${line@Q} and more" >&"${COPROC[1]}"
eval "exec ${COPROC[1]}>&-"
cat <&"$answers"
for i in 1 2 3 4; do (exit "$i") & jobs[i]=$!; done
for i in 1 2 3 4; do wait "${jobs[i]}" || echo "job $i ended with $?"; done
for ((i = 0; i < 200000; i++)); do list[i % 5000]+=$i; done
printf '%s' "${list[@]}" | sha256sum
echo "Now one that fails."
bash -c 'exit 3'
