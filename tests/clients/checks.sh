# What the clients in a shell have in common: expectations, and the scripted model server. Sourced by them.
# shellcheck shell=bash

readonly SECONDS_PER_CALL=30
# What came, set by the clients: the exit status, or HTTP's, and the output.
status=0 output=''
passed=0 failed=0

# expect NAME CODE PATTERN...: $status is what `exit_status` prints for CODE, and all the patterns are in $output.
expect() {
  local name=$1 expected pattern missing=()
  expected=$(exit_status "$2")
  shift 2
  ((status == expected)) || missing+=("exit status $expected (it is $status)")
  for pattern in "$@"; do
    [[ $output =~ $pattern ]] || missing+=("$pattern")
  done
  if ((${#missing[@]} == 0)); then
    echo "ok      $name"
    passed=$((passed + 1))
  else
    printf 'FAILED  %s: the output lacks\n' "$name"
    printf '        %s\n' "${missing[@]}"
    printf 'It is:\n%s\n' "$output"
    failed=$((failed + 1))
  fi
}

# control METHOD PATH: talks with the scripted model server, and fails unless it answers 204.
control() {
  local model=${UPSTREAM#http://} answer
  exec 3<>"/dev/tcp/${model%:*}/${model#*:}"
  printf '%s %s HTTP/1.0\r\ncontent-length: 0\r\n\r\n' "$@" >&3
  read -r -t "$SECONDS_PER_CALL" answer <&3 || true
  exec 3>&-
  [[ $answer == *' 204 '* ]]
}

# Says how many passed, and fails unless all did.
finish() {
  echo "$passed passed, $failed failed"
  ((failed == 0))
}
