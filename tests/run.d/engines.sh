# Search engines that datasets are tested against. Sourced by tests/run.
# shellcheck shell=bash

# PyPI has both as binaries. Of their dependencies none is needed to run a server, so none is installed.
readonly CHROMA=chromadb==1.5.9
readonly PGSERVER=pgserver==0.1.4
# The wheels of pgserver are for certain Pythons; the programs in them are for any.
readonly PGSERVER_PYTHON=3.12

# Starts what the caller has not, and exports SYFT_TEST_CHROMA_URL and SYFT_TEST_PGVECTOR_URL.
start_engines() {
  if [[ -n ${SYFT_TEST_CHROMA_URL-} && -n ${SYFT_TEST_PGVECTOR_URL-} ]]; then
    return
  fi
  heading engines
  install_engines
  [[ -n ${SYFT_TEST_CHROMA_URL-} ]] || start_chroma
  [[ -n ${SYFT_TEST_PGVECTOR_URL-} ]] || start_pgvector
}

install_engines() {
  local folder=$TOOLS/engines wanted="$CHROMA $PGSERVER $PGSERVER_PYTHON"
  # Written last: it says that all of it is installed.
  if [[ -e $folder/installed.txt && $(<"$folder/installed.txt") == "$wanted" ]] && "$folder/bin/python" -c ''; then
    return
  fi
  python3 -m venv --clear "$folder"
  local pip=("$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps)
  "${pip[@]}" "$CHROMA"
  "${pip[@]}" --only-binary=:all: --python-version "$PGSERVER_PYTHON" --target "$folder/postgres" "$PGSERVER"
  echo "$wanted" >"$folder/installed.txt"
}

# The server is all in Chroma's native part. Its Python part would want its dependencies.
run_chroma() {
  exec env ANONYMIZED_TELEMETRY=False "$TOOLS/engines/bin/python" -c \
    'import sys; from chromadb_rust_bindings import cli; cli(["chroma", "run", *sys.argv[1:]])' "$@"
}

start_chroma() {
  local start=$SECONDS port
  engines=$(mktemp -d /tmp/syft-engines.XXXXXX)
  for _ in {1..3}; do
    port=$(free_port)
    run_chroma --host 127.0.0.1 --port "$port" --path "$engines/chroma" >"$engines/chroma.log" 2>&1 </dev/null &
    chroma=$!
    if is_up "$port"; then
      export SYFT_TEST_CHROMA_URL=http://127.0.0.1:$port
      printf -- '--- %s started in %d s\n' "$SYFT_TEST_CHROMA_URL" $((SECONDS - start))
      return
    fi
    stop_chroma
  done
  cat "$engines/chroma.log" >&2
  die 'Chroma does not start'
}

# Waits until Chroma accepts connections; fails when it has ended, or after 30 seconds.
is_up() {
  for _ in {1..300}; do
    kill -0 "$chroma" 2>/dev/null || return 1
    if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then
      return
    fi
    sleep 0.1
  done
  return 1
}

start_pgvector() {
  # A copy, because Postgres's user may not enter the folder that we are in.
  pgvector=$(mktemp -d /tmp/syft-pgvector.XXXXXX)
  cp -r "$TOOLS/engines/postgres/." "$pgvector"
  chmod -R go+rX "$pgvector"
  start_cluster "$pgvector/pgserver/pginstall/bin"
  export SYFT_TEST_PGVECTOR_URL=$postgres_url
}

stop_chroma() {
  [[ -n $chroma ]] || return 0
  kill -TERM "$chroma" 2>/dev/null || true
  wait "$chroma" 2>/dev/null || true
  chroma=''
}

# After the clusters have stopped: one of them runs by a copy that is deleted here.
stop_engines() {
  stop_chroma
  rm -rf ${engines:+"$engines"} ${pgvector:+"$pgvector"}
}
