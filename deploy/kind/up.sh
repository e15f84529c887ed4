#!/usr/bin/env bash
# From nothing to a pod with a token, on kind. docs/getting-started.md explains each
# step, and has the same commands to type.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source-path=SCRIPTDIR source=azure.sh
source "$here/azure.sh"

usage() {
  cat <<'USAGE'
Usage: up.sh [offline|azure] [--yes]

From nothing to a pod with a token, on a cluster that kind makes. Run it again
after a failure: it goes on. down.sh deletes the cluster.

  offline   (the default) nothing outside of the cluster: issuer-sync serves the
            issuer's documents itself, and a stand-in plays Microsoft Entra. Its
            access tokens open nothing in Azure.
  azure     the documents go to Azure Blob storage, and Entra gives a real access
            token. Needs az, logged in. It says what it will make, and asks.
  --yes     do not ask.

Variables, with their defaults:
  CLUSTER=issuer-sync       the name of kind's cluster
  WORK=dist/kind/CLUSTER    where keys, certificates and the kubeconfig go
  IMAGES=dist/images        what make images made; made if it is not there
  KIND, KUBECTL, HELM       the commands: kind, kubectl, helm
  KIND_IMAGE                the node's image; kind's default if empty
 for azure:
  LOCATION=westeurope
  RESOURCE_GROUP=issuer-sync-kind
  STORAGE_ACCOUNT           a new name, made once and kept in WORK
  CONTAINER=oidc
  IDENTITY=issuer-sync-kind-sample

Exit codes: 0 good, 1 a step failed, 2 wrong usage.
USAGE
}

mode=offline
agreed=no
for argument in "$@"; do
  case $argument in
    offline | azure) mode=$argument ;;
    --yes) agreed=yes ;;
    -h | --help)
      usage
      exit 0
      ;;
    *) wrong "argument \"$argument\"; want offline, azure or --yes, see --help" ;;
  esac
done
images=${IMAGES:-$root/dist/images}

check_tools() {
  need_kind
  need "${kubectl_command[0]}" 'https://kubernetes.io/docs/tasks/tools/#kubectl (or KUBECTL=/path/to/kubectl)'
  need "${helm_command[0]}" 'https://helm.sh/docs/intro/install/ (or HELM=/path/to/helm)'
  need openssl 'install the package openssl of your system'
  if [ ! -e "$images/images.json" ] && [ -z "${IMAGES:-}" ]; then
    need make 'install the package make of your system: the images are not made yet'
    need go 'https://go.dev/doc/install: the images are not made yet'
  fi
  if [ "$mode" = azure ]; then
    need az 'https://learn.microsoft.com/cli/azure/install-azure-cli'
  fi
  check_needs
}

# fill prints a file of this folder with its placeholders filled in.
fill() {
  sed -e "s|\${ISSUER}|$issuer|g" -e "s|\${VERSION}|$version|g" -e "s|\${WORK}|$work|g" \
    -e "s|\${TENANT}|$tenant|g" -e "s|\${CLIENT}|$client|g" "$1"
}

make_images() {
  if [ ! -e "$images/images.json" ]; then
    if [ -n "${IMAGES:-}" ]; then
      fail "there is no $IMAGES/images.json; want IMAGES to be what make images made, or empty"
    fi
    step 'Building the images (once, minutes)'
    make -C "$root" images
  fi
  version=$(sed -n '/^ *"version": /{s/.*: "\(.*\)".*/\1/p;q;}' "$images/images.json")
  if [ -z "$version" ]; then
    fail "$images/images.json names no version; want what make images writes"
  fi
}

make_keys() {
  mkdir -p "$work"
  if [ ! -e "$work/sa.key" ]; then
    step "Making the keys that the cluster signs tokens with, in $work"
    openssl genrsa -out "$work/sa.key" 2048
    openssl rsa -in "$work/sa.key" -pubout -out "$work/sa.pub"
  fi
}

make_cluster() {
  if cluster_exists; then
    step "The cluster \"$cluster\" is there"
  else
    step "Making the cluster \"$cluster\", whose tokens say $issuer"
    fill "$here/cluster.yaml" >"$work/cluster.yaml"
    kind create cluster --name "$cluster" --config "$work/cluster.yaml" --wait 5m ${KIND_IMAGE:+--image "$KIND_IMAGE"}
  fi
  check_issuer
}

# check_issuer keeps the other mode's cluster from being taken for this one's.
check_issuer() {
  local document
  kind get kubeconfig --name "$cluster" >"$KUBECONFIG"
  document=$(kubectl get --raw /.well-known/openid-configuration)
  case $document in
    *"\"issuer\":\"$issuer\""*) ;;
    *) fail "tokens of the cluster \"$cluster\" do not say $issuer: its discovery document is $document; run down.sh first, or set CLUSTER to another name" ;;
  esac
}

load_images() {
  step "Loading the images, version $version"
  local architecture name
  architecture=$(kubectl get nodes --output 'jsonpath={.items[0].status.nodeInfo.architecture}')
  for name in issuer-sync webhook proxy; do
    kind load image-archive "$images/$name-$version-$architecture.tar" --name "$cluster"
  done
}

# good_certificate NAME: it is there, for a day at least, and of the CA of this folder.
good_certificate() {
  openssl x509 -checkend 86400 -noout -in "$work/$1.crt" && openssl verify -CAfile "$work/ca.crt" "$work/$1.crt"
} >/dev/null 2>&1

# certificate NAME DNS_NAMES makes NAME.key and NAME.crt, with the CA of this folder.
certificate() {
  if good_certificate "$1"; then
    return
  fi
  printf 'subjectAltName = %s\nextendedKeyUsage = serverAuth\n' "$2" >"$work/$1.ext"
  openssl req -new -newkey rsa:2048 -nodes -keyout "$work/$1.key" -subj "/CN=$1" -out "$work/$1.csr"
  openssl x509 -req -in "$work/$1.csr" -CA "$work/ca.crt" -CAkey "$work/ca.key" -CAcreateserial -days 365 -extfile "$work/$1.ext" -out "$work/$1.crt"
}

make_certificates() {
  step "Making a CA and two certificates, in $work"
  if ! good_certificate ca; then
    printf 'basicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign\n' >"$work/ca.ext"
    openssl req -new -newkey rsa:2048 -nodes -keyout "$work/ca.key" -subj "/CN=CA of the kind cluster" -out "$work/ca.csr"
    openssl x509 -req -in "$work/ca.csr" -signkey "$work/ca.key" -days 365 -extfile "$work/ca.ext" -out "$work/ca.crt"
  fi
  certificate issuer-sync DNS:issuer-sync.issuer-sync.svc.cluster.local
  certificate entra-stand-in DNS:entra-stand-in.entra-stand-in.svc.cluster.local,DNS:login.microsoftonline.com
}

# tls_secret NAME puts a certificate, its key and the CA into the namespace NAME.
tls_secret() {
  kubectl create secret generic "$1-tls" --namespace "$1" --type kubernetes.io/tls --from-file "tls.crt=$work/$1.crt" \
    --from-file "tls.key=$work/$1.key" --from-file "ca.crt=$work/ca.crt" --dry-run=client --output yaml | kubectl apply --filename -
}

install_stand_in() {
  step 'Installing the stand-in for Entra'
  fill "$here/stand-in.yaml" | kubectl apply --filename -
  kubectl rollout status deployment/entra-stand-in --namespace entra-stand-in --timeout 3m
}

install_chart() {
  step 'Installing issuer-sync and the webhook'
  fill "$here/values-$mode.yaml" >"$work/values.yaml"
  helm upgrade --install issuer-sync "$root/deploy/chart" --namespace issuer-sync --values "$work/values.yaml" --wait --timeout 5m
}

# run_job NAMESPACE NAME FILE SECONDS runs a Job anew and shows what its pods wrote.
run_job() {
  local state='' left=$4
  kubectl delete job "$2" --namespace "$1" --ignore-not-found
  fill "$here/$3" | kubectl apply --filename -
  while [ "$left" -gt 0 ]; do
    state=$(kubectl get job "$2" --namespace "$1" --output 'jsonpath={.status.conditions[?(@.status=="True")].type}')
    case " $state " in
      *' Complete '* | *' Failed '*) break ;;
    esac
    left=$((left - 1))
    sleep 1
  done
  kubectl logs --namespace "$1" --selector "app.kubernetes.io/name=$2" --tail -1 || true
  case " $state " in
    *' Complete '*) return ;;
  esac
  kubectl describe job "$2" --namespace "$1" >&2
  kubectl get events --namespace "$1" --sort-by .lastTimestamp >&2
  fail "the Job $2 in the namespace $1 did not complete within $4 s; what is above says why, and docs/troubleshooting.md what to do"
}

finish() {
  step "Done: a pod got an access token. The cluster is yours to try:"
  cat <<NEXT
  export KUBECONFIG=$work/kubeconfig
  kubectl logs --namespace demo job/sample
  kubectl logs --namespace issuer-sync deployment/issuer-sync
Delete it with deploy/kind/down.sh.
NEXT
}

offline() {
  issuer=https://issuer-sync.issuer-sync.svc.cluster.local
  tenant=11111111-1111-1111-1111-111111111111
  client=22222222-2222-2222-2222-222222222222
  make_keys
  make_cluster
  load_images
  make_certificates
  step 'Making namespaces and Secrets'
  kubectl apply --filename "$here/namespaces.yaml"
  tls_secret issuer-sync
  tls_secret entra-stand-in
  kubectl create configmap entra-stand-in-ca --namespace demo --from-file "ca.crt=$work/ca.crt" --dry-run=client --output yaml | kubectl apply --filename -
  install_stand_in
  install_chart
  step 'Looking at the issuer as a relying party does'
  run_job issuer-sync verify verify.yaml 120
  step 'Running a pod that asks the stand-in for an access token'
  run_job demo sample sample-offline.yaml 180
}

check_tools
make_images
"$mode"
finish
if [ "$mode" = azure ]; then
  printf 'What is in Azure stays until you delete it:\n'
  cat "$work/azure-removal"
fi
