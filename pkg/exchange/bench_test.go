package exchange_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/exchange"
)

func benchmarkCache(b *testing.B) *exchange.Cache {
	b.Helper()
	s := &source{does: issue(24 * time.Hour)}
	c := exchange.Cached(s, exchange.TokenFile(tokenFile(b)), slog.New(slog.DiscardHandler))
	b.Cleanup(c.Close)
	if _, err := c.AccessToken(b.Context(), wanted()); err != nil {
		b.Fatal(err)
	}
	return c
}

func BenchmarkCacheHit(b *testing.B) {
	c := benchmarkCache(b)
	request := wanted()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.AccessToken(b.Context(), request); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCacheHitParallel(b *testing.B) {
	c := benchmarkCache(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.AccessToken(b.Context(), wanted()); err != nil {
				b.Error(err)
			}
		}
	})
}

func TestCacheHitAllocatesNothing(t *testing.T) {
	s := &source{does: issue(24 * time.Hour)}
	c := exchange.Cached(s, exchange.TokenFile(tokenFile(t)), slog.New(slog.DiscardHandler))
	defer c.Close()
	ctx := t.Context()
	hit := func() {
		if _, err := c.AccessToken(ctx, wanted()); err != nil {
			t.Fatal(err)
		}
	}
	hit()
	if n := testing.AllocsPerRun(1000, hit); n != 0 {
		t.Errorf("a hit allocates %v times; want 0", n)
	}
}
