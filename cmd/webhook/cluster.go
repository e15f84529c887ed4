package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/kube"
)

// Values of the setting proxy.nativeSidecar.
const (
	nativeAuto   = "auto"
	nativeAlways = "always"
	nativeNever  = "never"
)

// nativeSince is the first version of API servers whose kubelets all know native
// sidecars. Kubelets do since 1.29, and may be three minor versions older than
// the API server (Kubernetes version skew policy). An older kubelet would wait
// for the proxy to end before it starts the pod's containers.
func nativeSince() kube.Version { return kube.Version{Major: 1, Minor: 32} }

// versionRetry is the time between two questions for the version.
const versionRetry = time.Second

// plainSidecar decides whether the proxy is injected as a plain container. It asks
// for the version until the API server answers: which is right cannot be guessed.
func plainSidecar(ctx context.Context, native string, ask func(context.Context) (kube.Version, error), log *slog.Logger) (bool, error) {
	switch native {
	case nativeAlways:
		return false, nil
	case nativeNever:
		return true, nil
	}
	for told := false; ; told = true {
		version, err := ask(ctx)
		if err == nil {
			log.Info("chose the kind of sidecar", "server_version", version.String(), "native", version.AtLeast(nativeSince()))
			return !version.AtLeast(nativeSince()), nil
		}
		if !told {
			log.Warn("waiting for the API server", "err", err)
		}
		select {
		case <-ctx.Done():
			return false, fmt.Errorf("choosing the kind of sidecar: %w", ctx.Err())
		case <-time.After(versionRetry):
		}
	}
}
