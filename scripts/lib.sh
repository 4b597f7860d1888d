# Shared by the scripts here: where things are, and installing what is missing. Source it; it does nothing by itself.
LATHE_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
LATHE_VENV=$LATHE_ROOT/.venv
LATHE_GRPCURL_VERSION=v1.9.1  # the newest that Debian 12's Go compiles

say() { printf '\n== %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# as_root COMMAND...: runs it as root, by sudo where we are not.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; return; fi
  command -v sudo >/dev/null || die "installing packages needs root: run as root, or install sudo"
  sudo "$@"
}

# install_packages KIND...: installs those of scripts/packages.txt that are missing.
install_packages() {
  local kinds missing=() kind name
  kinds=" $* "
  while read -r kind name; do
    case "$kind" in ''|\#*) continue ;; esac
    [[ $kinds == *" $kind "* ]] || continue
    [ "$name" = golang-go ] && command -v go >/dev/null && continue  # any newer Go will do
    dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null | grep -qx installed || missing+=("$name")
  done < "$LATHE_ROOT/scripts/packages.txt"
  [ ${#missing[@]} -eq 0 ] && return 0
  command -v apt-get >/dev/null || die "this is not Debian; install by hand: ${missing[*]}"
  say "installing ${#missing[@]} Debian packages"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# install_python: .venv with the pinned packages of scripts/requirements.txt; nothing to do when they are there.
install_python() {
  local stamp=$LATHE_VENV/requirements.stamp
  cmp -s "$LATHE_ROOT/scripts/requirements.txt" "$stamp" && return 0
  say "making .venv"
  python3 -m venv "$LATHE_VENV"
  "$LATHE_VENV/bin/python" -m pip install -q --disable-pip-version-check -r "$LATHE_ROOT/scripts/requirements.txt"
  cp "$LATHE_ROOT/scripts/requirements.txt" "$stamp"
}

# install_grpcurl: into .venv/bin, pinned.
install_grpcurl() {
  [ -x "$LATHE_VENV/bin/grpcurl" ] && return 0
  say "building grpcurl $LATHE_GRPCURL_VERSION"
  GOBIN=$LATHE_VENV/bin GOFLAGS=-modcacherw go install "github.com/fullstorydev/grpcurl/cmd/grpcurl@$LATHE_GRPCURL_VERSION"
}

# build PRESET TARGET...: configures once, builds, quiet unless it fails.
build() {
  local preset=$1 log; shift
  log=$LATHE_ROOT/build/$preset.log
  mkdir -p "$LATHE_ROOT/build"
  # One cache serves every checkout and the image of the Dockerfile: neither folder nor language tells them apart.
  export CCACHE_BASEDIR=$LATHE_ROOT CCACHE_NOHASHDIR=1 LANG=C.UTF-8
  local werror=OFF
  [ "${CI:-}" = true ] && [ "$preset" = release ] && werror=ON
  if ! { cmake -S "$LATHE_ROOT" --preset "$preset" -DLATHE_WERROR=$werror &&
         cmake --build "$LATHE_ROOT/build/$preset" ${1:+--target "$@"}; } >"$log" 2>&1; then
    grep -E 'error|FAILED|warning' -A5 "$log" | head -60 >&2
    die "the build failed; all of it is in $log"
  fi
}

# install_container_engine: podman, podman-compose, and the base image of our Dockerfiles. Where no registry answers, the image is made
# from Debian's own packages, which is what it consists of.
install_container_engine() {
  local image=docker.io/library/debian:bookworm-slim root
  install_packages deploy
  podman image exists "$image" && return 0
  say "fetching $image"
  timeout 300 podman pull -q "$image" >/dev/null 2>&1 && return 0
  say "no registry answers: making $image with debootstrap"
  root=$(mktemp -d)
  as_root debootstrap --variant=minbase bookworm "$root/fs" >"$root/log" 2>&1 || { tail -5 "$root/log" >&2; die "debootstrap failed"; }
  # The machine's own package sources, where it has some: they are the ones that answer here.
  as_root cp /etc/apt/sources.list.d/debian.sources "$root/fs/etc/apt/sources.list.d/" 2>/dev/null || true
  as_root tar -C "$root/fs" -c . | podman import --quiet - "$image" >/dev/null
  as_root rm -rf "$root"
}
