#!/usr/bin/env bash
# Deletes the cluster that up.sh made.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case ${1:-} in
  '') ;;
  -h | --help)
    cat <<'USAGE'
Usage: down.sh

Deletes kind's cluster that up.sh made, named by CLUSTER (issuer-sync). It leaves
WORK (dist/kind/CLUSTER), with the keys that the next cluster signs with, and what
is in Azure, and says how to delete both.

Exit codes: 0 good, 1 it failed, 2 wrong usage.
USAGE
    exit 0
    ;;
  *) wrong "argument \"$1\"; want none, see --help" ;;
esac

need_kind
check_needs
if cluster_exists; then
  kind delete cluster --name "$cluster"
else
  printf 'There is no cluster "%s".\n' "$cluster"
fi
if [ -d "$work" ]; then
  printf 'Keys and certificates stay, for the next cluster: rm -r %s\n' "$work"
fi
if [ -e "$work/azure-removal" ]; then
  printf 'What is in Azure stays until you delete it:\n'
  cat "$work/azure-removal"
fi
