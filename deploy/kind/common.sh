# shellcheck shell=bash
# What up.sh and down.sh share. It is sourced by them, and does nothing by itself.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cluster=${CLUSTER:-issuer-sync}
work=${WORK:-$root/dist/kind/$cluster}

# Each may be a command with arguments. The functions below have the names of what
# they run, so that the lines of up.sh are those that a person would type.
read -r -a kind_command <<<"${KIND:-kind}"
read -r -a kubectl_command <<<"${KUBECTL:-kubectl}"
read -r -a helm_command <<<"${HELM:-helm}"
kind() { command "${kind_command[@]}" "$@"; }
kubectl() { command "${kubectl_command[@]}" "$@"; }
helm() { command "${helm_command[@]}" "$@"; }

# This cluster's, so that ~/.kube/config and its current context stay as they are.
export KUBECONFIG=$work/kubeconfig

step() { printf '\n==> %s\n' "$*"; }

# wrong ends with the exit code of wrong usage, fail with that of a failure.
wrong() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 2
}
fail() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# need COMMAND CURE: every tool that is missing is told, and then check_needs ends.
missing=0
need() {
  if ! type -P "$1" >/dev/null; then # not the functions above
    printf '%s: %s is not there: %s\n' "${0##*/}" "$1" "$2" >&2
    missing=1
  fi
}
check_needs() {
  if [ "$missing" != 0 ]; then
    fail 'nothing was done; run it again when these tools are in PATH'
  fi
}

need_kind() {
  need "${kind_command[0]}" 'https://kind.sigs.k8s.io/docs/user/quick-start/#installation (or KIND=/path/to/kind)'
  # kind finds Docker, Podman or nerdctl itself; another KIND may need none of them.
  if [ -z "${KIND:-}${KIND_EXPERIMENTAL_PROVIDER:-}" ]; then
    need docker 'https://docs.docker.com/engine/install/ (or Podman, with KIND_EXPERIMENTAL_PROVIDER=podman)'
  fi
}

cluster_exists() {
  local all
  all=$(kind get clusters) || fail "kind cannot list its clusters: is Docker running?"
  case "
$all
" in
    *"
$cluster
"*) return 0 ;;
  esac
  return 1
}
