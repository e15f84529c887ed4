package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/kube"
)

func TestPlainSidecar(t *testing.T) {
	for _, c := range []struct {
		name, native string
		server       kube.Version
		asked        int
		plain        bool
	}{
		{"auto, long before", nativeAuto, kube.Version{Major: 1, Minor: 28}, 1, true},
		{"auto, the last whose kubelets may not know it", nativeAuto, kube.Version{Major: 1, Minor: 31}, 1, true},
		{"auto, the first whose kubelets all know it", nativeAuto, kube.Version{Major: 1, Minor: 32}, 1, false},
		{"auto, later", nativeAuto, kube.Version{Major: 1, Minor: 36}, 1, false},
		{"auto, much later", nativeAuto, kube.Version{Major: 2, Minor: 0}, 1, false},
		{"always asks nobody", nativeAlways, kube.Version{Major: 1, Minor: 28}, 0, false},
		{"never asks nobody", nativeNever, kube.Version{Major: 1, Minor: 36}, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked := 0
			ask := func(context.Context) (kube.Version, error) {
				asked++
				return c.server, nil
			}
			plain, err := plainSidecar(t.Context(), c.native, ask, slog.New(slog.DiscardHandler))
			if err != nil || plain != c.plain || asked != c.asked {
				t.Errorf("plain %t after %d questions, %v; want %t after %d", plain, asked, err, c.plain, c.asked)
			}
		})
	}
}

// Which kind is right cannot be guessed: it asks until there is an answer, each
// second, and says so once.
func TestPlainSidecarAsksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		start, asked := time.Now(), 0
		ask := func(context.Context) (kube.Version, error) {
			if asked++; asked < 5 {
				return kube.Version{}, errors.New("connection refused")
			}
			return kube.Version{Major: 1, Minor: 31}, nil
		}
		plain, err := plainSidecar(t.Context(), nativeAuto, ask, slog.New(slog.NewTextHandler(&logged, nil)))
		if err != nil || !plain || time.Since(start) != 4*time.Second {
			t.Errorf("plain %t, %v after %s; want true after 4s", plain, err, time.Since(start))
		}
		lines := strings.Split(strings.TrimSpace(logged.String()), "\n")
		if len(lines) != 2 ||
			!strings.Contains(lines[0], `level=WARN msg="waiting for the API server" err="connection refused"`) ||
			!strings.Contains(lines[1], `level=INFO msg="chose the kind of sidecar" server_version=1.31 native=false`) {
			t.Errorf("logged:\n%s", &logged)
		}
	})
}

func TestPlainSidecarStopsAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second+time.Millisecond)
		defer cancel()
		asked := 0
		ask := func(context.Context) (kube.Version, error) {
			asked++
			return kube.Version{}, errors.New("connection refused")
		}
		_, err := plainSidecar(ctx, nativeAuto, ask, slog.New(slog.DiscardHandler))
		if !errors.Is(err, context.DeadlineExceeded) || asked != 91 {
			t.Errorf("%v after %d questions; want 91", err, asked)
		}
	})
}
