# The shell itself: arrays, maps, strings that grow, substitutions, pipes, many short children.
packages=''
executables='bash sort awk'
limit=60

prepare() { :; }

run() {
  bash <<'PROGRAM'
    declare -A count
    words=()
    seed=1
    for ((i = 0; i < 20000; i++)); do
      seed=$(((seed * 1103515245 + 12345) & 0x7fffffff))
      words+=("w$((seed % 997))")
      count[w$((seed % 997))]=$((${count[w$((seed % 997))]:-0} + 1))
    done
    for word in "${!count[@]}"; do echo "$word ${count[$word]}"; done | sort -k2,2n -k1,1 | tail -n 5
    text=
    for ((i = 0; i < 2000; i++)); do text+="line $i ${words[i]}"$'\n'; done
    echo "${#text} ${text//w1/W1}" | cksum
    for ((i = 0; i < 40; i++)); do (echo $((i * i)) | awk '{ total += $1 } END { print total }'); done | paste -sd ' '
    mapfile -t lines <<<"$text"
    echo "${#lines[@]} ${lines[1234]}"
PROGRAM
}
