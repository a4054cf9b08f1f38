# The steps, one function each. Sourced by tests/run.
# shellcheck shell=bash

readonly BUF_VERSION=1.75.0
# What clients of the last release were built from.
readonly RELEASED_PROTO=tests/it/snapshots/descriptors.binpb

step_fmt() {
  cargo fmt --all --check
}

step_clippy() {
  cargo clippy --workspace --all-targets --locked -- -D warnings
  cargo clippy --workspace --all-targets --locked --all-features -- -D warnings
}

step_test() {
  cargo test --workspace --locked --all-features
}

step_buf() {
  install_buf
  (cd proto && "$buf" lint)
  if [[ -e $RELEASED_PROTO ]]; then
    "$buf" breaking proto --against "$RELEASED_PROTO"
  else
    echo "$RELEASED_PROTO does not exist: nothing to compare with"
  fi
}

step_python() {
  install_venv python tests/python/requirements.txt
  make_stubs
  install_buf
  build_server
  export PYTHONDONTWRITEBYTECODE=1
  PYTHONPATH=$TOOLS/python-stubs "$python" tests/python/client.py "$server"
  PYTHONPATH=tests/clients "$python" tests/python/fuzz.py "$server" "$buf"
}

step_clients() {
  build_server
  tests/clients/run "$server"
}

# A real browser, with a page of another origin.
step_browser() {
  install_npm browser tests/browser
  build_server
  make_site
  PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=tests/clients python3 tests/browser/run.py "$server" "$npm/buf" "$site"
}

# REST by its own description, and as SyftHub's SDK uses it.
step_rest() {
  install_venv rest tests/rest/requirements.txt
  install_buf
  build_server
  export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=tests:tests/clients
  "$python" tests/rest/sdk.py "$server" "$buf"
  "$python" tests/rest/fuzz.py "$server" "$buf"
}

step_deploy() {
  local promtool
  promtool=$(promtool_program)
  install_venv deploy tests/run.d/deploy-requirements.txt
  build_server
  check_variables
  export PYTHONDONTWRITEBYTECODE=1
  "$python" tests/run.d/metrics.py "$server" >"$TOOLS/metrics.txt"
  "$python" tests/deploy/check.py --metrics "$TOOLS/metrics.txt"
  "$promtool" check rules deploy/prometheus/alerts.yaml
  "$promtool" test rules deploy/prometheus/alerts_test.yaml
}

# Not `cargo build`: without the tests cargo chooses other features for the dependencies, and would
# compile most of them once more. After the step `test` this has nothing to do.
build_server() {
  cargo test --workspace --locked --all-features --no-run
  server=${CARGO_TARGET_DIR:-target}/debug/syft-endpoints
}

# The server knows every variable that deploy/ names. It tells all that is wrong at once, and does not start
# with such an address.
check_variables() {
  local names answer
  mapfile -t names < <(grep -rhoE '\bSYFT_[A-Z][A-Z0-9_]*' deploy | sort --unique)
  answer=$(env -i "${names[@]/%/=/dev/null}" SYFT_LISTEN=nowhere "$server" serve 2>&1) || true
  [[ ${#names[@]} -gt 0 && $answer == *server.listen* ]] || die "the variables of deploy/ are not judged: $answer"
  ! grep 'unknown environment variable' <<<"$answer" || die 'deploy/ names them'
}

# npm, because buf is published there as a binary for every platform.
install_buf() {
  buf=$TOOLS/buf/node_modules/.bin/buf
  if [[ -x $buf && $("$buf" --version) == "$BUF_VERSION" ]]; then
    return
  fi
  npm install --prefix "$TOOLS/buf" --no-save --no-audit --no-fund --ignore-scripts "@bufbuild/buf@$BUF_VERSION"
}

# install_npm NAME FOLDER: the packages of a folder's lock file. Their programs are in $npm.
install_npm() {
  local folder=$TOOLS/$1
  npm=$folder/node_modules/.bin
  # The copy is made last: it says that all of it is installed.
  if cmp --silent "$2/package-lock.json" "$folder/installed.json"; then
    return
  fi
  mkdir -p "$folder"
  cp "$2/package.json" "$2/package-lock.json" "$folder/"
  npm ci --prefix "$folder" --no-audit --no-fund --ignore-scripts
  cp "$2/package-lock.json" "$folder/installed.json"
}

# Makes the page of tests/browser, with the stubs that it uses and with README's programs.
make_site() {
  local build=$TOOLS/browser/build
  site=$TOOLS/browser/site
  rm -rf "$build" "$site"
  # A copy, because TypeScript and esbuild look for packages in the folders above the source.
  cp -r tests/browser "$build"
  python3 tests/readme.py js fetch >"$build/readme-fetch.js"
  python3 tests/readme.py ts connect-web >"$build/readme-grpcweb.ts"
  local proto=$PWD/proto
  (
    cd "$build"
    PATH=$npm:$PATH
    buf generate "$proto" --output gen
    tsc
    esbuild page.ts readme-fetch.js readme-grpcweb.ts --bundle --format=esm --target=chrome120 \
      --outdir="$site" --log-level=warning
  )
  cp tests/browser/index.html "$site/"
}

# install_venv NAME REQUIREMENTS: a virtual environment with the packages of a file.
install_venv() {
  local venv=$TOOLS/$1 requirements=$2
  python=$venv/bin/python
  # The copy is made last: it says that all of it is installed.
  if cmp --silent "$requirements" "$venv/installed.txt" && "$python" -c ''; then
    return
  fi
  python3 -m venv --clear "$venv"
  "$python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements"
  cp "$requirements" "$venv/installed.txt"
}

make_stubs() {
  local stubs=$TOOLS/python-stubs files
  # From nothing, so that no stub outlives its file.
  rm -rf "$stubs"
  mkdir -p "$stubs"
  mapfile -t files < <(cd proto && find syft -name '*.proto' | sort)
  "$python" -m grpc_tools.protoc --proto_path=proto --python_out="$stubs" --grpc_python_out="$stubs" "${files[@]}"
}
