package storetest

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// RunFaults checks that the stores of a medium, which must make HTTP requests,
// keep the contract of [oidc.Store] when these fail.
func RunFaults(t *testing.T, medium Medium) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, Open)
	}{
		{"a creation whose answer is lost was done", lostCreation},
		{"an update whose answer is lost was done", lostUpdate},
		{"a creation that loses a race conflicts", racedCreation},
		{"an update that loses a race conflicts", racedUpdate},
		{"a store that asks for patience gets it", patience},
		{"a connection cut in an answer is an error", cutAnswer},
		{"a connection cut in a request leaves the old", cutRequest},
		{"an unreachable store is not an empty one", unreachable},
		{"a store that hangs ends with the context", hanging},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, medium(t)) })
	}
}

func lostCreation(t *testing.T, open Open) {
	var faults Faults
	s := open(t, faults.Wrap)
	faults.During(t, Writes, DropAnswer, func() {
		wantUnknown(t, s, document(oidc.JWKSPath, "persisted"), "")
	})
	wantBody(t, s, "persisted")
	wantConflict(t, s, document(oidc.JWKSPath, "again"), "")
}

func lostUpdate(t *testing.T, open Open) {
	var faults Faults
	s := open(t, faults.Wrap)
	base := mustWrite(t, s, document(oidc.JWKSPath, "old"), "")
	faults.During(t, Writes, DropAnswer, func() {
		wantUnknown(t, s, document(oidc.JWKSPath, "persisted"), base)
	})
	wantBody(t, s, "persisted")
	wantConflict(t, s, document(oidc.JWKSPath, "again"), base)
}

// racing lets another store write just before the request is sent.
func racing(write func()) Fault {
	var once sync.Once
	return func(next http.RoundTripper, req *http.Request) (*http.Response, error) {
		once.Do(write)
		return next.RoundTrip(req)
	}
}

func racedCreation(t *testing.T, open Open) {
	var faults Faults
	s, other := open(t, faults.Wrap), open(t, nil)
	faults.During(t, Writes, racing(func() {
		mustWrite(t, other, document(oidc.JWKSPath, "of the other"), "")
	}), func() {
		wantConflict(t, s, document(oidc.JWKSPath, "mine"), "")
	})
	wantBody(t, s, "of the other")
}

func racedUpdate(t *testing.T, open Open) {
	var faults Faults
	s, other := open(t, faults.Wrap), open(t, nil)
	base := mustWrite(t, s, document(oidc.JWKSPath, "old"), "")
	faults.During(t, Writes, racing(func() {
		mustWrite(t, other, document(oidc.JWKSPath, "old"), base) // equal bytes: the version alone tells
	}), func() {
		wantConflict(t, s, document(oidc.JWKSPath, "mine"), base)
	})
	wantBody(t, s, "old")
}

// patience asks for more time than the context allows, so that a store that
// waits by itself is seen.
func patience(t *testing.T, open Open) {
	const wait = 47 * time.Second
	var faults Faults
	s := open(t, faults.Wrap)
	base := mustWrite(t, s, document(oidc.JWKSPath, "old"), "")
	tooMany := Answer(http.StatusTooManyRequests, http.Header{"Retry-After": {"47"}}, "slow down")
	ctx, cancel := context.WithTimeout(t.Context(), promptly)
	defer cancel()
	faults.During(t, Any, tooMany, func() {
		_, _, err := s.Read(ctx, oidc.JWKSPath)
		wantRetryAfter(t, "reading", err, wait)
		_, err = s.Write(ctx, document(oidc.JWKSPath, "new"), base)
		wantRetryAfter(t, "updating", err, wait)
		_, err = s.Write(ctx, document(statePath, "new"), "")
		wantRetryAfter(t, "creating", err, wait)
	})
	wantJWKS(t, s, "old", base)
}

func wantRetryAfter(t *testing.T, doing string, err error, want time.Duration) {
	t.Helper()
	if retry, ok := errors.AsType[*oidc.RetryAfterError](err); !ok || retry.After != want {
		t.Errorf("%s: got error %v, want a RetryAfterError of %s", doing, err, want)
	}
}

func cutAnswer(t *testing.T, open Open) {
	const size = 50 << 10
	var faults Faults
	s := open(t, faults.Wrap)
	version := mustWrite(t, s, document(oidc.JWKSPath, uniform(0, size)), "")
	faults.During(t, Reads, CutAnswer, func() {
		object, version, err := s.Read(t.Context(), oidc.JWKSPath)
		if err == nil || errors.Is(err, oidc.ErrNotFound) || len(object.Body) > 0 || version != "" {
			t.Errorf("reading: got %s, version %q and error %v, want nothing and an error", abridge(object.Body), version, err)
		}
	})
	wantJWKS(t, s, uniform(0, size), version)
}

func cutRequest(t *testing.T, open Open) {
	const size = 12 << 10 // net/http sends the first 4 KiB before it comes to the cut
	var faults Faults
	s := open(t, faults.Wrap)
	base := mustWrite(t, s, document(oidc.JWKSPath, uniform(0, size)), "")
	faults.During(t, Writes, CutRequest, func() {
		wantUnknown(t, s, document(oidc.JWKSPath, uniform(1, size)), base)
	})
	wantJWKS(t, s, uniform(0, size), base)
	mustWrite(t, s, document(oidc.JWKSPath, uniform(2, size)), base)
}

// unreachable has answers that a proxy, a captive portal or a wrong address
// would give.
func unreachable(t *testing.T, open Open) {
	var faults Faults
	s := open(t, faults.Wrap)
	base := mustWrite(t, s, document(oidc.JWKSPath, "old"), "")
	page := http.Header{"Content-Type": {"text/html"}}
	for _, c := range []struct {
		name  string
		fault Fault
	}{
		{"no connection", Refuse},
		{"a 404 page", Answer(http.StatusNotFound, page, "<html>no such page</html>")},
		{"an empty 404", Answer(http.StatusNotFound, nil, "")},
		{"a 200 page", Answer(http.StatusOK, page, "<html>please log in</html>")},
		{"an empty 200", Answer(http.StatusOK, nil, "")},
		{"a 200 of something else", Answer(http.StatusOK, http.Header{"Content-Type": {"application/json"}},
			`{"kind":"Status","apiVersion":"v1","status":"Success"}`)},
		{"a 412 page", Answer(http.StatusPreconditionFailed, page, "<html>no</html>")},
		{"a 500", Answer(http.StatusInternalServerError, nil, "")},
		{"a 503", Answer(http.StatusServiceUnavailable, nil, "")},
	} {
		faults.During(t, Any, c.fault, func() {
			_, version, err := s.Read(t.Context(), oidc.JWKSPath)
			if err == nil || errors.Is(err, oidc.ErrNotFound) || version != "" {
				t.Errorf("reading, %s: got version %q and error %v, want an error that claims nothing", c.name, version, err)
			}
			if version, err = s.Write(t.Context(), document(oidc.JWKSPath, "new"), base); err == nil || version != "" {
				t.Errorf("writing, %s: got version %q and error %v, want an error", c.name, version, err)
			}
			if version, err = s.Write(t.Context(), document(statePath, "new"), ""); err == nil || version != "" {
				t.Errorf("creating, %s: got version %q and error %v, want an error", c.name, version, err)
			}
		})
	}
	wantJWKS(t, s, "old", base)
}

func hanging(t *testing.T, open Open) {
	var faults Faults
	s := open(t, faults.Wrap)
	base := mustWrite(t, s, document(oidc.JWKSPath, "old"), "")
	hang := func(_ http.RoundTripper, req *http.Request) (*http.Response, error) {
		defer closeBody(req)
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	faults.During(t, Any, hang, func() {
		var group sync.WaitGroup
		group.Go(func() {
			if _, _, err := s.Read(ctx, oidc.JWKSPath); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("reading: got error %v, want %v", err, context.DeadlineExceeded)
			}
		})
		group.Go(func() {
			if _, err := s.Write(ctx, document(oidc.JWKSPath, "new"), base); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("writing: got error %v, want %v", err, context.DeadlineExceeded)
			}
		})
		group.Wait()
	})
	wantJWKS(t, s, "old", base)
}

// wantUnknown wants the write to fail without claiming more than it can know.
func wantUnknown(t *testing.T, s oidc.Store, object oidc.Object, base oidc.Version) {
	t.Helper()
	version, err := s.Write(t.Context(), object, base)
	if err == nil || errors.Is(err, oidc.ErrNotFound) || version != "" {
		t.Errorf("writing %s: got version %q and error %v, want an error that claims nothing", object.Path, version, err)
	}
}

func wantBody(t *testing.T, s oidc.Store, body string) {
	t.Helper()
	if object, _ := mustRead(t, s, oidc.JWKSPath); string(object.Body) != body {
		t.Errorf("the object is %s, want %q", abridge(object.Body), body)
	}
}
