package store_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/store"
)

func TestBound(t *testing.T) {
	for _, c := range []struct {
		name        string
		given, want time.Duration
	}{
		{"ten seconds without a deadline", 0, 10 * time.Second},
		{"an earlier deadline stays", time.Second, time.Second},
		{"a later deadline stays", time.Minute, time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if c.given > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, c.given)
					defer cancel()
				}
				start := time.Now()
				bound, cancel := store.Bound(ctx)
				defer cancel()
				<-bound.Done()
				if took := time.Since(start); took != c.want || !errors.Is(bound.Err(), context.DeadlineExceeded) {
					t.Errorf("it ended with %v after %s, want %v after %s", bound.Err(), took, context.DeadlineExceeded, c.want)
				}
			})
		})
	}
}
