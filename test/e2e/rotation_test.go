//go:build linux

package e2e_test

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/test/node"
)

// As values has them.
const (
	retention   = time.Minute // how long a key stays after the API server has stopped showing it
	minimumWait = 10 * time.Second
	interval    = 2 * time.Second
)

// rotate changes the signing key in the three steps of docs/rotation.md, each a
// restart of the only API server.
func (w *world) rotate(t *testing.T) {
	before, next := w.keys[0], newKey(t)
	oldID, nextID := keyID(t, before), keyID(t, next)
	issuers := []string{issuer}
	w.startWriter(t, "writer-before")
	w.startAsker(t, "asker-before")
	readers := w.readDocuments(t, blobAddress, issuer, 5)

	w.RestartAPIServer(t, node.Config{Issuers: issuers, Keys: []*rsa.PrivateKey{before, next}})
	w.awaitKeys(t, patience, oldID, nextID)
	time.Sleep(minimumWait + interval) // then nobody has older documents

	w.RestartAPIServer(t, node.Config{Issuers: issuers, Keys: []*rsa.PrivateKey{next, before}})
	w.startWriter(t, "writer-after")
	w.startAsker(t, "asker-after")
	w.verify(t)
	// The API server is about to refuse what the old key signed. Who waits as long
	// as tokens live need not start its pods again.
	output(t, w.Kubectl(t.Context(), "rollout", "restart", "--namespace", namespace, "deployment"), "rollout restart")
	w.checkReady(t, current)

	w.RestartAPIServer(t, node.Config{Issuers: issuers, Keys: []*rsa.PrivateKey{next}})
	absent := time.Now()
	old := w.watchKey(t, oldID)
	// Not seen here is a pod that lives on: what the old key signed is good until
	// that leaves, and the kubelet brings a new token only when most of an hour has
	// passed, which is long before the end of a retention that is not a test's.
	time.Sleep(retention / 2)
	w.awaitKeys(t, time.Second, oldID, nextID)
	w.wantNoFailure(t, "writer-before")
	w.wantNoFailure(t, "asker-before")
	w.awaitKeys(t, patience, nextID)
	if stayed := old().Sub(absent); stayed < retention-5*time.Second || stayed > retention+30*time.Second {
		t.Errorf("the old key was last seen %s after the API server had stopped showing it; want %s", stayed, retention)
	} else {
		t.Logf("the old key was last seen %s after the API server had stopped showing it", stayed)
	}
	w.verify(t)
	w.wantNoFailure(t, "writer-after")
	w.wantNoFailure(t, "asker-after")
	readers.wantAllGood(t, "readers of Blob storage", 100)
	w.keys = []*rsa.PrivateKey{next}
}

// watchKey looks for a key among the public ones from now on, and returns a
// function that stops and tells when it was last seen.
func (w *world) watchKey(t *testing.T, id string) func() time.Time {
	t.Helper()
	client := w.client(blobAddress)
	var last atomic.Int64
	flood := startFlood(t, 5, func(ctx context.Context, _ int) error {
		body, err := fetch(ctx, client, issuer+"/openid/v1/jwks")
		if now := time.Now().UnixNano(); err == nil && strings.Contains(body, id) {
			last.Store(max(now, last.Load()))
		}
		return err
	})
	return func() time.Time {
		flood.wantAllGood(t, "looks for the old key", 20)
		return time.Unix(0, last.Load())
	}
}

// awaitKeys waits until these keys are public, and no other.
func (w *world) awaitKeys(t *testing.T, within time.Duration, want ...string) {
	t.Helper()
	slices.Sort(want)
	client := w.client(blobAddress)
	node.Await(t, within, "the public keys to be others", func(ctx context.Context) error {
		var set jose.JSONWebKeySet
		body, err := fetch(ctx, client, issuer+"/openid/v1/jwks")
		if err == nil {
			err = json.Unmarshal([]byte(body), &set)
		}
		if err != nil {
			return err
		}
		var got []string
		for _, key := range set.Keys {
			got = append(got, key.KeyID)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			return fmt.Errorf("keys %q; want %q", got, want)
		}
		return nil
	})
}

func keyID(t *testing.T, private *rsa.PrivateKey) string {
	t.Helper()
	key, err := keys.New(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(key.ID)
}
