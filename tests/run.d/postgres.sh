# Throwaway Postgres servers. Sourced by tests/run.
# shellcheck shell=bash

# The folder of the server's programs. Debian keeps them off the PATH, by version.
postgres_bin() {
  local initdb
  initdb=$(command -v initdb || printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort --version-sort | tail -n 1)
  [[ -x $initdb ]] || return 1
  dirname "$initdb"
}

# Postgres refuses to run as root. A subshell, because its user may not enter the folder we are in.
as_postgres() (
  cd "$cluster" || exit
  if ((EUID == 0)); then
    runuser -u "$(postgres_user)" -- "$@"
  else
    "$@"
  fi
)

postgres_user() {
  if id postgres &>/dev/null; then echo postgres; else echo nobody; fi
}

# Starts a server and exports SYFT_TEST_POSTGRES_URL, unless the caller has one already.
start_postgres() {
  # Tests fail rather than skip without a server.
  export SYFT_TEST_REQUIRE_POSTGRES=1
  [[ -z ${SYFT_TEST_POSTGRES_URL-} ]] || return 0
  local bin
  heading postgres
  bin=$(postgres_bin) || die 'no Postgres server is installed'
  start_cluster "$bin"
  export SYFT_TEST_POSTGRES_URL=$postgres_url
}

# start_cluster BIN: a new server by the programs in a folder. Its URL is in $postgres_url.
start_cluster() {
  local start=$SECONDS port
  make_cluster "$1"
  for _ in {1..10}; do
    port=$(free_port)
    if start_server "$port"; then
      postgres_url=postgres://postgres@127.0.0.1:$port/postgres
      printf -- '--- %s started in %d s\n' "$postgres_url" $((SECONDS - start))
      return
    fi
  done
  cat "$cluster/log" >&2
  die 'Postgres does not start'
}

make_cluster() {
  # Not in $TMPDIR: the path of a Unix socket has room for 107 bytes only, and Postgres's user must be
  # able to get there.
  cluster=$(mktemp -d /tmp/syft-postgres.XXXXXX)
  clusters+=("$cluster")
  ln -s "$1" "$cluster/bin"
  if ((EUID == 0)); then
    chown "$(postgres_user)" "$cluster"
  fi
  as_postgres bin/initdb --pgdata="$cluster/data" --username=postgres --auth=trust \
    --encoding=UTF8 --no-locale --no-sync >"$cluster/initdb.log" 2>&1 || {
    cat "$cluster/initdb.log" >&2
    die 'initdb failed'
  }
  # The data need not survive anything, so it need not reach the disk.
  cat >>"$cluster/data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
unix_socket_directories = '$cluster'
max_connections = 200
fsync = off
synchronous_commit = off
full_page_writes = off
CONF
}

# Below the ports that the kernel gives to outgoing connections. Another process may still take it
# before Postgres does: then the start fails and another one is tried.
free_port() {
  local port
  while port=$((15000 + RANDOM % 15000)); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  echo "$port"
}

start_server() {
  as_postgres bin/pg_ctl start --silent --wait --pgdata="$cluster/data" --log="$cluster/log" \
    --options="-p $1" 2>/dev/null
}

stop_postgres() {
  local cluster
  for cluster in "${clusters[@]}"; do
    if [[ -e $cluster/data/postmaster.pid ]]; then
      as_postgres bin/pg_ctl stop --silent --pgdata="$cluster/data" --mode=immediate || true
    fi
    rm -rf "$cluster"
  done
}
