# The image of issuer-sync for who builds images with an engine. `make images` needs none.
# It needs BuildKit, as docker build has since 23.0. From the tree's root:
#
#   docker build -f deploy/docker/issuer-sync.Dockerfile --build-arg VERSION=0.1.0 \
#     --build-arg GO_DIGEST=sha256:... --build-arg BASE_DIGEST=sha256:... -t registry.example/issuer-sync/issuer-sync:0.1.0 .
#
# Both digests have no default: look them up, and keep them with your build:
#
#   crane digest docker.io/library/golang:1.26
#   crane digest gcr.io/distroless/static-debian12:nonroot
ARG GO_DIGEST
ARG BASE_DIGEST

FROM --platform=$BUILDPLATFORM docker.io/library/golang:1.26@${GO_DIGEST:?want_--build-arg_GO_DIGEST=sha256:...} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY cmd cmd
COPY internal internal
COPY pkg pkg
ARG VERSION=devel
ARG TARGETOS
ARG TARGETARCH
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false -ldflags="-s -w -buildid= -X main.version=$VERSION" -o /out/issuer-sync ./cmd/issuer-sync

# CA roots, /tmp and the user nonroot; no shell, no package manager.
FROM gcr.io/distroless/static-debian12:nonroot@${BASE_DIGEST:?want_--build-arg_BASE_DIGEST=sha256:...}
ARG VERSION=devel
LABEL org.opencontainers.image.title="issuer-sync" \
      org.opencontainers.image.description="Publishes the OIDC discovery document and keys of Kubernetes clusters" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.source="https://github.com/issuer-sync/issuer-sync" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/issuer-sync /issuer-sync
USER 65532:65532
WORKDIR /
ENTRYPOINT ["/issuer-sync"]
