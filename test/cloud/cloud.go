// Package cloud is what tests of the proxy and the exchange have around them: a
// cluster's issuer, the tokens that it signs, and the stand-in for Entra that
// takes them. All of it listens on loopback and ends with the test.
package cloud

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"github.com/issuer-sync/issuer-sync/internal/entra"
	"github.com/issuer-sync/issuer-sync/internal/keytest"
)

// Entra serves Entra's stand-in until the test ends. It listens in the network
// namespace of the calling thread, and reaches issuers through that of the
// process. A config without a key gets the 9th test key, and one without a log
// discards it.
func Entra(t testing.TB, config entra.Config) *entra.Server {
	t.Helper()
	if config.Key == nil {
		config.Key = keytest.RSA(t, 9)
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	server, err := entra.Listen(t.Context(), entra.ListenConfig{Address: "127.0.0.1:0"}, config)
	if err != nil {
		t.Fatal(err)
	}
	Run(t, server.Run)
	return server
}

// Run calls run in a goroutine. When the test ends, it cancels run's context
// and waits until run has returned. The test fails if that returns an error.
func Run(t testing.TB, run func(context.Context) error) {
	t.Helper()
	// The context of the test ends before its cleanups, which may need what runs.
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
}
