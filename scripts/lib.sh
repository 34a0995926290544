# shellcheck shell=bash
# shellcheck disable=SC2034  # what is set here is used by those who source it
# Shared by the scripts: places, step lines, and what "not there" means. Source it, do not run it.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${TIDEGATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidegate}
target=$(cd "$repo" && realpath -m "${CARGO_TARGET_DIR:-target}")
missing=0

# What the Go services need: method patterns in ServeMux and clear-text HTTP/2 came with 1.22 and 1.24.
go_minimum=1.24

# One line for each step: what, state, detail.
step() { printf '%-11s %-8s %s\n' "$1" "$2" "${3:-}"; }

# Something is not there: a line that nobody overlooks, an error where real components are required.
lack() {
  missing=$((missing + 1))
  step "$1" MISSING "$2" >&2
}

# The exit status after all steps: lacks count only where real components are required.
conclude() {
  if [ "$missing" -gt 0 ] && [ "${TIDEGATE_REQUIRE_REAL:-0}" = 1 ]; then
    echo "error: $missing missing, and TIDEGATE_REQUIRE_REAL=1" >&2
    return 1
  fi
}

# version_at_least WANTED GIVEN
version_at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

# Prints the go binary to use: the cached one, else a recent one of this machine.
find_go() {
  local binary version
  for binary in "$cache/go/bin/go" "$(command -v go || true)"; do
    [ -x "$binary" ] || continue
    version=$(GOTOOLCHAIN=local "$binary" env GOVERSION 2>/dev/null) || continue
    if version_at_least "$go_minimum" "${version#go}"; then
      echo "$binary"
      return 0
    fi
  done
  return 1
}

# Prints the Python of the environment that scripts/provision makes: grpcio, websockets, requests, httpx, aiohttp.
find_python() { [ -x "$cache/venv/bin/python" ] && echo "$cache/venv/bin/python"; }

# Prints the directory with the interop `client` and `server` of grpc-go.
find_interop() { [ -x "$cache/interop/client" ] && [ -x "$cache/interop/server" ] && echo "$cache/interop"; }

# Prints the directory with `consul`, `etcd` and `etcdctl`.
find_registries() {
  [ -x "$cache/registries/consul" ] && [ -x "$cache/registries/etcd" ] && [ -x "$cache/registries/etcdctl" ] &&
    echo "$cache/registries"
}

# Prints the directory with `kube-apiserver`.
find_kubernetes() { [ -x "$cache/kubernetes/kube-apiserver" ] && echo "$cache/kubernetes"; }

# Prints the directory into which Docker and what it needs are unpacked.
find_docker() { [ -x "$cache/docker/usr/sbin/dockerd" ] && [ -x "$cache/docker/bin/busybox" ] && echo "$cache/docker"; }

# start_dockerd DIRECTORY: a Docker daemon of its own (scripts/dockerd), as $daemon, until stop_dockerd.
start_dockerd() {
  local answer=
  mkfifo "$1/commands" "$1/answers"
  "$repo/scripts/dockerd" "$1" <"$1/commands" >"$1/answers" &
  daemon=$!
  exec 3>"$1/commands"
  read -r answer <"$1/answers" || true
  [ "$answer" = ready ] || { echo "error: dockerd does not start" >&2; return 1; }
}

# What was started meanwhile must have ended: the daemon ends with the last that holds its commands open.
stop_dockerd() {
  exec 3>&-
  wait "$daemon" || true
}

# The root file system in which tests/systemd/boot starts systemd.
root_filesystem() { echo "$cache/root-$(. /etc/os-release && echo "${VERSION_CODENAME:-unknown}")"; }
