# What the steps need from the system. Sourced by tests/run.
# shellcheck shell=bash

# Downloads are kept with the build, and nowhere else.
use_tools_folder() {
  mkdir -p "$TOOLS"
  export BUF_CACHE_DIR=$TOOLS/cache/buf npm_config_cache=$TOOLS/cache/npm PIP_CACHE_DIR=$TOOLS/cache/pip
}

has() {
  command -v "$1" >/dev/null
}

# Debian has `python3` without the parts that make virtual environments.
has_venv() {
  has python3 && python3 -c 'import ensurepip, venv' 2>/dev/null
}

# Prints the packages that the given steps need and that are not there.
missing_packages() {
  local name
  for name in "$@"; do
    case $name in
    clippy) has cc || echo build-essential ;;
    test)
      has cc || echo build-essential
      [[ -n ${SYFT_TEST_POSTGRES_URL-} ]] || postgres_bin >/dev/null || echo postgresql
      [[ -n ${SYFT_TEST_CHROMA_URL-} && -n ${SYFT_TEST_PGVECTOR_URL-} ]] || has_venv || echo python3-venv
      ;;
    buf) has npm || echo npm ;;
    python)
      has cc || echo build-essential
      has npm || echo npm
      has_venv || echo python3-venv
      ;;
    deploy)
      has cc || echo build-essential
      has_venv || echo python3-venv
      ;;
    browser)
      has cc || echo build-essential
      has npm || echo npm
      has python3 || echo python3
      has chromium || echo chromium
      ;;
    rest)
      has cc || echo build-essential
      has npm || echo npm
      has curl || echo curl
      has_venv || echo python3-venv
      ;;
    clients)
      has cc || echo build-essential
      tests/clients/run --packages
      ;;
    esac
  done | sort --unique
}

install_packages() {
  [[ $* == buf ]] || has cargo || die 'cargo is not installed: see https://rustup.rs'
  local missing
  mapfile -t missing < <(missing_packages "$@")
  ((${#missing[@]} > 0)) || return 0
  heading "installing ${missing[*]}"
  has apt-get || die "not Debian: install ${missing[*]} yourself"
  if [[ " ${missing[*]} " == *" postgresql "* ]]; then
    make_no_default_cluster
  fi
  apt_get update
  apt_get install --yes --no-install-recommends "${missing[@]}"
}

promtool_program() {
  command -v promtool || echo "$TOOLS/prometheus/usr/bin/promtool"
}

# promtool alone, out of Debian's package: all of it is 300 MB, and starts a server on installation.
install_promtool() {
  local folder=$TOOLS/prometheus
  [[ ! -x $(promtool_program) ]] || return 0
  heading 'installing promtool'
  has apt-get || die 'not Debian: install promtool yourself'
  rm -rf "$folder.part"
  mkdir "$folder.part"
  download prometheus "$folder.part" 2>/dev/null || {
    apt_get update
    download prometheus "$folder.part"
  }
  dpkg-deb --fsys-tarfile "$folder.part"/*.deb | tar --extract --directory "$folder.part" ./usr/bin/promtool
  rm "$folder.part"/*.deb
  mv "$folder.part" "$folder"
}

# Downloads a package into a folder. Needs no root, so apt need not give up its rights either.
download() (
  cd "$2" || exit
  apt-get -qq -o APT::Sandbox::User=root download "$1"
)

apt_get() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq "$@"
}

as_root() {
  if ((EUID == 0)); then
    "$@"
  elif has sudo; then
    sudo "$@"
  else
    die "neither root nor sudo: cannot run $*"
  fi
}

# Debian's package would start a server of its own on installation.
make_no_default_cluster() {
  local file=/etc/postgresql-common/createcluster.conf
  [[ ! -e $file ]] || return 0
  as_root mkdir -p "${file%/*}"
  echo 'create_main_cluster = false' | as_root tee "$file" >/dev/null
}
