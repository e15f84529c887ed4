package oidc_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// script is a store in memory that records calls and lets a test interfere
// with each. It keeps the contract of oidc.Store otherwise.
type script struct {
	mu      sync.Mutex
	objects map[string]oidc.Object
	version map[string]int
	calls   []string
	// before runs ahead of the n-th call, from 1. An error fails the call, before it has an effect.
	before func(n int, call string) error
	// after runs behind it. An error hides what the call did.
	after func(n int, call string) error
}

func newScript() *script {
	return &script{objects: map[string]oidc.Object{}, version: map[string]int{}}
}

func (s *script) call(call string, f func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call)
	n := len(s.calls)
	if s.before != nil {
		if err := s.before(n, call); err != nil {
			return err
		}
	}
	err := f()
	if s.after != nil {
		if hidden := s.after(n, call); hidden != nil {
			return hidden
		}
	}
	return err
}

func (s *script) Read(_ context.Context, path string) (object oidc.Object, version oidc.Version, err error) {
	err = s.call("read "+path, func() error {
		stored, ok := s.objects[path]
		if !ok {
			return oidc.ErrNotFound
		}
		object, version = stored, oidc.Version(fmt.Sprint(s.version[path]))
		return nil
	})
	return object, version, err
}

func (s *script) Write(_ context.Context, object oidc.Object, base oidc.Version) (version oidc.Version, err error) {
	err = s.call("write "+object.Path, func() error {
		if _, exists := s.objects[object.Path]; (base == "") == exists || exists && base != oidc.Version(fmt.Sprint(s.version[object.Path])) {
			return oidc.ErrConflict
		}
		s.force(object)
		version = oidc.Version(fmt.Sprint(s.version[object.Path]))
		return nil
	})
	return version, err
}

// force is another writer's write. The caller holds the lock.
func (s *script) force(object oidc.Object) {
	s.objects[object.Path] = object
	s.version[object.Path]++
}

const (
	jwks      = "openid/v1/jwks"
	discovery = ".well-known/openid-configuration"
)

func publish(t *testing.T, store oidc.Store, documents oidc.Documents) ([]string, error) {
	t.Helper()
	base, err := oidc.Hold(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	return oidc.Publish(t.Context(), store, documents, base)
}

func TestPublishOrder(t *testing.T) {
	store := newScript()
	documents := render(t, issuer(t, "https://x.test"), keytest.Set(t, 1))
	written, err := publish(t, store, documents)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{jwks, discovery}, written); diff != "" {
		t.Errorf("written (-want +got):\n%s", diff)
	}
	want := []string{
		"read " + jwks, "read " + discovery, // Hold
		"write " + jwks, "read " + jwks,
		"read " + discovery, "write " + discovery, "read " + discovery,
		"read " + jwks,
	}
	if diff := cmp.Diff(want, store.calls); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	holding, err := oidc.Hold(t.Context(), store)
	if err != nil || !holding.Keys.Equal(documents.Keys) || holding.Issuer != "https://x.test" || holding.Damage != nil || holding.Missing(documents) != nil {
		t.Errorf("held afterwards: %+v, %v", holding, err)
	}
}

func TestPublishWritesNothingWhenNothingChanged(t *testing.T) {
	store := newScript()
	documents := render(t, issuer(t, "https://x.test"), keytest.Set(t, 1))
	if _, err := publish(t, store, documents); err != nil {
		t.Fatal(err)
	}
	store.calls = nil
	written, err := publish(t, store, documents)
	if err != nil || len(written) > 0 {
		t.Errorf("written %v, %v; want nothing", written, err)
	}
	for _, call := range store.calls {
		if strings.HasPrefix(call, "write") {
			t.Errorf("a steady round wrote: %v", store.calls)
		}
	}
}

func TestPublishRepairsForeignEdits(t *testing.T) {
	documents := render(t, issuer(t, "https://x.test"), keytest.Set(t, 1))
	for name, edit := range map[string]func(*oidc.Object){
		"another content type": func(o *oidc.Object) { o.ContentType = "application/octet-stream" },
		"no cache control":     func(o *oidc.Object) { o.CacheControl = "" },
		"another body":         func(o *oidc.Object) { o.Body = []byte("{}") },
	} {
		t.Run(name, func(t *testing.T) {
			store := newScript()
			if _, err := publish(t, store, documents); err != nil {
				t.Fatal(err)
			}
			edited := documents.Discovery
			edit(&edited)
			store.force(edited)
			written, err := publish(t, store, documents)
			if err != nil || !cmp.Equal(written, []string{discovery}) {
				t.Errorf("written %v, %v; want %q", written, err, discovery)
			}
		})
	}
}

var errCut = errors.New("connection reset by peer")

func TestPublishFaults(t *testing.T) {
	x := issuer(t, "https://x.test")
	for _, test := range []struct {
		name    string
		fault   func(s *script, call string) error // before the call
		hide    func(call string) error            // after the call
		want    error                              // nil: success
		missing []string                           // paths at which ours must not be found afterwards
	}{
		{
			name: "the JWKS write fails before it persists",
			fault: func(_ *script, call string) error {
				if call == "write "+jwks {
					return errCut
				}
				return nil
			},
			want: errCut, missing: []string{jwks, discovery},
		},
		{
			name: "the JWKS write fails after it persisted",
			hide: func(call string) error {
				if call == "write "+jwks {
					return errCut
				}
				return nil
			},
		},
		{
			name: "the discovery write fails after it persisted, told as a conflict by a retry",
			hide: func(call string) error {
				if call == "write "+discovery {
					return oidc.ErrConflict
				}
				return nil
			},
		},
		{
			name: "the discovery write fails before it persists",
			fault: func(_ *script, call string) error {
				if call == "write "+discovery {
					return errCut
				}
				return nil
			},
			want: errCut, missing: []string{discovery},
		},
		{
			name: "the JWKS cannot be read back",
			fault: func(s *script, call string) error {
				if call == "read "+jwks && len(s.calls) == 4 {
					return errCut
				}
				return nil
			},
			want: errCut, missing: []string{discovery},
		},
		{
			name: "another writer is first",
			fault: func(s *script, call string) error {
				if call == "write "+jwks {
					s.force(render(t, x, keytest.Set(t, 2)).JWKS)
				}
				return nil
			},
			want: oidc.ErrConflict, missing: []string{discovery},
		},
		{
			name: "another writer is first, right after the look",
			fault: func(s *script, _ string) error {
				if len(s.calls) == 3 {
					s.force(render(t, x, keytest.Set(t, 2)).JWKS)
				}
				return nil
			},
			want: oidc.ErrConflict, missing: []string{discovery},
		},
		{
			name: "another writer comes behind the JWKS write",
			fault: func(s *script, call string) error {
				if call == "write "+discovery {
					s.force(render(t, x, keytest.Set(t, 1, 2)).JWKS)
				}
				return nil
			},
			want: oidc.ErrConflict,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			store := newScript()
			store.before = func(_ int, call string) error {
				if test.fault != nil {
					return test.fault(store, call)
				}
				return nil
			}
			store.after = func(_ int, call string) error {
				if test.hide != nil {
					return test.hide(call)
				}
				return nil
			}
			documents := render(t, x, keytest.Set(t, 1))
			_, err := publish(t, store, documents)
			if !errors.Is(err, test.want) {
				t.Errorf("error %v; want %v", err, test.want)
			}
			for _, path := range test.missing {
				ours := map[string][]byte{jwks: documents.JWKS.Body, discovery: documents.Discovery.Body}[path]
				if string(store.objects[path].Body) == string(ours) {
					t.Errorf("%s was written", path)
				}
			}
			if _, ok := store.objects[discovery]; ok && store.objects[jwks].Body == nil {
				t.Error("a discovery document names a missing JWKS")
			}
		})
	}
}

// A crash at any step leaves what every reader can use, and the next publish completes it.
func TestPublishCrashAtEveryStep(t *testing.T) {
	x := issuer(t, "https://x.test")
	before, after := render(t, x, keytest.Set(t, 1)), render(t, x, keytest.Set(t, 1, 2))
	for _, start := range []*oidc.Documents{nil, &before} {
		for step := 1; ; step++ {
			store := newScript()
			if start != nil {
				if _, err := publish(t, store, *start); err != nil {
					t.Fatal(err)
				}
			}
			base, err := oidc.Hold(t.Context(), store)
			if err != nil {
				t.Fatal(err)
			}
			store.calls = nil
			store.before = func(n int, _ string) error {
				if n >= step {
					return errCut
				}
				return nil
			}
			_, crashed := oidc.Publish(t.Context(), store, after, base)
			if _, ok := store.objects[discovery]; ok {
				if set, _, err := keys.ParseJWKS("", store.objects[jwks].Body); err != nil || set.Len() == 0 {
					t.Fatalf("after a crash at step %d the discovery document names a JWKS that is %v", step, err)
				}
			}
			store.before = nil
			if _, err := publish(t, store, after); err != nil {
				t.Fatalf("publishing again after a crash at step %d: %v", step, err)
			}
			if string(store.objects[jwks].Body) != string(after.JWKS.Body) || string(store.objects[discovery].Body) != string(after.Discovery.Body) {
				t.Fatalf("after a crash at step %d the documents are not completed", step)
			}
			if crashed == nil {
				break // beyond the last step
			}
		}
	}
}

func TestHoldTellsDamage(t *testing.T) {
	good, err := keytest.Set(t, 1).JWKS()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		body string
		keys int
	}{
		"garbage":                     {"<html>", 0},
		"no keys":                     {`{"keys":[]}`, 0},
		"2 MB of junk":                {strings.Repeat("x", 1<<20+1), 0}, // as a store cuts it
		"a foreign key alone":         {`{"keys":[{"kty":"OKP","kid":"a","crv":"Ed25519","x":"AA"}]}`, 0},
		"a foreign key beside a good": {strings.Replace(string(good), `{"keys":[`, `{"keys":[{"kty":"OKP","kid":"a","crv":"Ed25519","x":"AA"},`, 1), 1},
	} {
		t.Run(name, func(t *testing.T) {
			store := newScript()
			store.force(oidc.Object{Path: jwks, Body: []byte(test.body)})
			holding, err := oidc.Hold(t.Context(), store)
			if err != nil || len(holding.Damage) == 0 || holding.Keys.Len() != test.keys {
				t.Fatalf("held %+v, %v; want damage and %d keys", holding, err, test.keys)
			}
			// Whatever it is, it can be replaced.
			if _, err := publish(t, store, render(t, issuer(t, "https://x.test"), keytest.Set(t, 1))); err != nil {
				t.Error(err)
			}
		})
	}
}
