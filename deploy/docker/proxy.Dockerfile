# The image of proxy for who builds images with an engine. `make images` needs none.
# It needs BuildKit, as docker build has since 23.0. From the tree's root:
#
#   docker build -f deploy/docker/proxy.Dockerfile --build-arg VERSION=0.1.0 \
#     --build-arg GO_DIGEST=sha256:... --build-arg BASE_DIGEST=sha256:... -t registry.example/issuer-sync/proxy:0.1.0 .
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
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false -ldflags="-s -w -buildid= -X main.version=$VERSION" -o /out/proxy ./cmd/proxy

# CA roots, /tmp and the user nonroot; no shell, no package manager.
FROM gcr.io/distroless/static-debian12:nonroot@${BASE_DIGEST:?want_--build-arg_BASE_DIGEST=sha256:...}
ARG VERSION=devel
LABEL org.opencontainers.image.title="proxy" \
      org.opencontainers.image.description="Answers the metadata endpoint beside a workload with tokens of its own identity" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.source="https://github.com/issuer-sync/issuer-sync" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/proxy /proxy
# The redirect of proxy init spares this user.
USER 1501:1501
WORKDIR /
ENTRYPOINT ["/proxy"]
