# A shell script that keeps a table in associative arrays and formats it.
declare -A count longest
for ((i = 0; i < 700; i++)); do
  key="user$((i * 7919 % 173))" line="event $i of ${key} took $((i * 31 % 977)) ms"
  count[$key]=$((${count[$key]:-0} + 1))
  [[ ${#line} -gt ${#longest[$key]} ]] && longest[$key]=$line
  words=($line); text="${words[*]^^}"; text="${text//EVENT/e}"
done
for key in "${!count[@]}"; do printf '%s %d %s\n' "$key" "${count[$key]}" "${longest[$key]}"; done | sort | tail -1
