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
}

step_test() {
  cargo test --workspace --locked
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
  install_python
  make_stubs
  # Not `cargo build`: without the tests cargo chooses other features for the dependencies, and would
  # compile most of them once more. After the step `test` this has nothing to do.
  cargo test --workspace --locked --no-run
  PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$TOOLS/python-stubs \
    "$python" tests/python/client.py "${CARGO_TARGET_DIR:-target}/debug/syft-endpoints"
}

# npm, because buf is published there as a binary for every platform.
install_buf() {
  buf=$TOOLS/buf/node_modules/.bin/buf
  if [[ -x $buf && $("$buf" --version) == "$BUF_VERSION" ]]; then
    return
  fi
  npm install --prefix "$TOOLS/buf" --no-save --no-audit --no-fund --ignore-scripts "@bufbuild/buf@$BUF_VERSION"
}

install_python() {
  local venv=$TOOLS/python requirements=tests/python/requirements.txt
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
