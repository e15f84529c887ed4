// Package storetest is what every [oidc.Store] must pass: [Run] for the
// contract, [RunFaults] for the stores that make HTTP requests and must keep it
// when those fail.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/store"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// Medium makes an empty medium, such as a directory or a container, and
// returns how to open stores on it.
type Medium func(t *testing.T) Open

// Open returns one more store on the same medium, independent of the others
// as another process would be. If the store makes HTTP requests, they go
// through wrap, which may be nil.
type Open func(t *testing.T, wrap Wrap) oidc.Store

// Wrap puts a round tripper before another one.
type Wrap func(next http.RoundTripper) http.RoundTripper

// statePath is where the publisher keeps its state.
const statePath = ".issuer-sync/state.json"

// Run checks that the stores of a medium keep the contract of [oidc.Store].
func Run(t *testing.T, medium Medium) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, Open)
	}{
		{"an absent object is not found", absent},
		{"an object is read back as it was written", readBack},
		{"a second creation conflicts", createTwice},
		{"an update moves the version", update},
		{"a stale base conflicts and changes nothing", staleBase},
		{"equal bytes written again are a new version", equalBytes},
		{"independent stores agree", independent},
		{"bytes kept by the caller are its own", ownBytes},
		{"no update of 16 writers is lost", counter},
		{"readers see whole objects only", wholeObjects},
		{"a call with a cancelled context does nothing", cancelledBefore},
		{"a call that is cancelled leaves the old or the new", cancelledDuring},
		{"a path out of the store is refused", badPaths},
		{"an object that is too large is refused", tooLarge},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, medium(t)) })
	}
}

func document(path, body string) oidc.Object {
	return oidc.Object{
		Path: path, Body: []byte(body),
		ContentType: "application/json", CacheControl: "public, max-age=300",
	}
}

func absent(t *testing.T, open Open) {
	s := open(t, nil)
	wantAbsent(t, s, oidc.JWKSPath)
	mustWrite(t, s, document(statePath, "{}"), "")
	wantAbsent(t, s, oidc.JWKSPath)
}

func readBack(t *testing.T, open Open) {
	for _, object := range []oidc.Object{
		document(statePath, `{"keys":[]}`),
		document(oidc.JWKSPath, `{"keys":["ключ & <key>\u0000\n"]}`),
		document(oidc.DiscoveryPath, " {\"issuer\":\"https://example.com\"}\n"),
		document("large.json", strings.Repeat("0123456789abcdef", 200<<10/16)),
	} {
		written := mustWrite(t, open(t, nil), object, "")
		got, read := mustRead(t, open(t, nil), object.Path)
		if read != written {
			t.Errorf("%s: read version %q, written %q", object.Path, read, written)
		}
		want := object
		if got.ContentType == "" && got.CacheControl == "" { // a store that keeps no headers
			want.ContentType, want.CacheControl = "", ""
		}
		if !bytes.Equal(want.Body, got.Body) {
			t.Errorf("%s: read %s, written %s", object.Path, abridge(got.Body), abridge(want.Body))
		}
		want.Body, got.Body = nil, nil
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s, written and read (-want +got):\n%s", object.Path, diff)
		}
	}
}

func createTwice(t *testing.T, open Open) {
	s := open(t, nil)
	version := mustWrite(t, s, document(oidc.JWKSPath, "first"), "")
	wantConflict(t, s, document(oidc.JWKSPath, "second"), "")
	wantJWKS(t, s, "first", version)
}

func update(t *testing.T, open Open) {
	s := open(t, nil)
	first := mustWrite(t, s, document(oidc.JWKSPath, "first"), "")
	second := mustWrite(t, s, document(oidc.JWKSPath, "second"), first)
	if second == first {
		t.Errorf("the update kept version %q", first)
	}
	wantJWKS(t, s, "second", second)
}

func staleBase(t *testing.T, open Open) {
	s := open(t, nil)
	first := mustWrite(t, s, document(oidc.JWKSPath, "first"), "")
	second := mustWrite(t, s, document(oidc.JWKSPath, "second"), first)
	wantConflict(t, s, document(oidc.JWKSPath, "third"), first)
	wantJWKS(t, s, "second", second)
}

// equalBytes is the case of a writer that was paused while the object changed
// and changed back: its base must not fit again.
func equalBytes(t *testing.T, open Open) {
	s := open(t, nil)
	seen := make(map[oidc.Version]bool)
	version := oidc.Version("")
	for range 10 {
		version = mustWrite(t, s, document(oidc.JWKSPath, "same"), version)
		if seen[version] {
			t.Fatalf("version %q came twice", version)
		}
		seen[version] = true
	}
	for old := range seen {
		if old != version {
			wantConflict(t, s, document(oidc.JWKSPath, "paused"), old)
		}
	}
	wantJWKS(t, s, "same", version)
}

func independent(t *testing.T, open Open) {
	a, b := open(t, nil), open(t, nil)
	first := mustWrite(t, a, document(oidc.JWKSPath, "of a"), "")
	wantJWKS(t, b, "of a", first)
	second := mustWrite(t, b, document(oidc.JWKSPath, "of b"), first)
	wantConflict(t, a, document(oidc.JWKSPath, "of a again"), first)
	wantJWKS(t, a, "of b", second)
}

func ownBytes(t *testing.T, open Open) {
	s := open(t, nil)
	object := document(oidc.JWKSPath, "original")
	version := mustWrite(t, s, object, "")
	clear(object.Body)
	got, _ := mustRead(t, s, object.Path)
	clear(got.Body)
	wantJWKS(t, s, "original", version)
}

func cancelledBefore(t *testing.T, open Open) {
	s := open(t, nil)
	version := mustWrite(t, s, document(oidc.JWKSPath, "before"), "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Read(ctx, oidc.JWKSPath); !errors.Is(err, context.Canceled) {
		t.Errorf("reading: got error %v, want %v", err, context.Canceled)
	}
	if _, err := s.Write(ctx, document(oidc.JWKSPath, "after"), version); !errors.Is(err, context.Canceled) {
		t.Errorf("writing: got error %v, want %v", err, context.Canceled)
	}
	wantJWKS(t, s, "before", version)
}

func badPaths(t *testing.T, open Open) {
	s := open(t, nil)
	for _, path := range []string{"", ".", "..", "../outside", "/absolute", "a//b", "a/./b", "a/../../b", "a/", "\xff"} {
		if _, _, err := s.Read(t.Context(), path); err == nil || errors.Is(err, oidc.ErrNotFound) {
			t.Errorf("reading %q: got error %v, want a refusal", path, err)
		}
		if _, err := s.Write(t.Context(), document(path, "{}"), ""); err == nil || errors.Is(err, oidc.ErrConflict) {
			t.Errorf("writing %q: got error %v, want a refusal", path, err)
		}
	}
}

func tooLarge(t *testing.T, open Open) {
	s := open(t, nil)
	object := document(oidc.JWKSPath, "")
	object.Body = bytes.Repeat([]byte("x"), store.MaxObjectSize+1)
	_, err := s.Write(t.Context(), object, "")
	const want = "the object is larger than 1 MiB, the most that a store keeps"
	if err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got error %v, want one that ends in %q", err, want)
	}
	wantAbsent(t, s, oidc.JWKSPath)
}

func mustRead(t *testing.T, s oidc.Store, path string) (oidc.Object, oidc.Version) {
	t.Helper()
	object, version, err := s.Read(t.Context(), path)
	if err != nil {
		t.Fatalf("reading %s: %v", path, err)
	}
	if version == "" {
		t.Fatalf("reading %s: the version is empty", path)
	}
	return object, version
}

func mustWrite(t *testing.T, s oidc.Store, object oidc.Object, base oidc.Version) oidc.Version {
	t.Helper()
	version, err := s.Write(t.Context(), object, base)
	if err != nil {
		t.Fatalf("writing %s on %q: %v", object.Path, base, err)
	}
	if version == "" {
		t.Fatalf("writing %s on %q: the new version is empty", object.Path, base)
	}
	return version
}

func wantJWKS(t *testing.T, s oidc.Store, body string, version oidc.Version) {
	t.Helper()
	object, got := mustRead(t, s, oidc.JWKSPath)
	if string(object.Body) != body || got != version {
		t.Errorf("the object is %s, version %q; want %.60q, version %q", abridge(object.Body), got, body, version)
	}
}

func wantAbsent(t *testing.T, s oidc.Store, path string) {
	t.Helper()
	if _, version, err := s.Read(t.Context(), path); !errors.Is(err, oidc.ErrNotFound) || version != "" {
		t.Errorf("reading %s: got version %q and error %v, want no version and %v", path, version, err, oidc.ErrNotFound)
	}
}

func wantConflict(t *testing.T, s oidc.Store, object oidc.Object, base oidc.Version) {
	t.Helper()
	if version, err := s.Write(t.Context(), object, base); !errors.Is(err, oidc.ErrConflict) || version != "" {
		t.Errorf("writing %s on %q: got version %q and error %v, want no version and %v", object.Path, base, version, err, oidc.ErrConflict)
	}
}

func abridge(body []byte) string { return fmt.Sprintf("%d bytes %.60q", len(body), body) }
