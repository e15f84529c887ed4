# Short names for longer commands. `go build ./... && go test ./...` works without.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.PHONY: help build demo test e2e lint bench fuzz chaos images clean

# Without the v of a tag, as images and charts have it.
VERSION  := $(patsubst v%,%,$(shell git describe --tags --always --dirty 2>/dev/null || echo unknown))
FUZZTIME := 30s
LINTER   := go tool -modfile=tools/go.mod golangci-lint
# The go command turns cgo off where it finds no C compiler, and -race needs cgo.
RACE     := $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)

help: ## list the targets (the default)
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build every command into bin/: static, stripped, reproducible
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ ./cmd/...

demo: ## the whole story on one machine, no cluster, no cloud, in seconds
	@go run ./cmd/issuer-sync demo

test: ## all tests but those of e2e; makes Kubernetes, Azurite and more first (once, minutes)
ifeq ($(RACE),)
	@echo 'There is no C compiler, so -race is left out (Debian: apt install gcc libc6-dev).'
	@test -z "$${CI:-}" || { echo 'CI tests with -race only.' >&2; exit 1; }
endif
	go run ./test/install
	go test $(RACE) -shuffle=on $$(go list ./... | grep -vE '/test/(node|e2e)$$')

e2e: ## the chart, images and guide on a real node, with pods; root needed; minutes
	go run ./test/install
	ISSUER_SYNC_NODE_TESTS=1 go test $(RACE) -count=1 -v -timeout 30m -p 1 ./test/node ./test/e2e

lint: ## golangci-lint, go vet, gofmt
	$(LINTER) config verify
	$(LINTER) run
	cd tools/images && go tool -modfile=../go.mod golangci-lint run --config=../../.golangci.yml
	go vet ./...
	@files=$$(gofmt -l .); test -z "$$files" || { printf 'not formatted by gofmt:\n%s\n' "$$files" >&2; exit 1; }

bench: ## Go benchmarks, with allocations
	go test -run '^$$' -bench . -benchmem ./...

fuzz: ## run every fuzz target for FUZZTIME (30s) each
	@go test -list '^Fuzz' ./... | \
	awk '/^Fuzz/ {f[n++] = $$1} /^ok/ {while (n) {print $$2, f[--n]; all++}} END {if (!all) print "no fuzz target found" > "/dev/stderr"; exit !all}' | \
	while read -r package target; do \
		echo "$$package $$target, $(FUZZTIME)"; \
		go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$package" </dev/null; \
	done

chaos: ## 1,100 kills, faults of minutes, 20,000 rounds of two writers, while readers watch
	go run ./test/install
	go test $(RACE) -count=1 -v -timeout 60m ./test/chaos -args -chaos.full
	go test -count=1 -v -timeout 30m -run TwoWriters ./internal/publisher -args -chaos.full

images: ## container images of every command into dist/images, without an engine
	go -C tools/images run . build -version '$(VERSION)' -revision "$$(git rev-parse HEAD 2>/dev/null)"

clean: ## remove bin/ and dist/images/; dist/kind/ has a cluster's keys, and stays, as do caches
	rm -rf bin dist/images
