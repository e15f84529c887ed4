package accounts_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/issuer-sync/issuer-sync/internal/accounts"
	"github.com/issuer-sync/issuer-sync/internal/admission"
)

// newServer is an API server that answers as a test wants.
func newServer(t *testing.T, handler http.HandlerFunc) *rest.Config {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return &rest.Config{Host: server.URL}
}

func status(w http.ResponseWriter, code int, reason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":%q,"reason":%q,"code":%d}`, message, reason, code)
}

func metadata(w http.ResponseWriter, annotations string) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"namespace":"shop","name":"app","annotations":{%s}}}`, annotations)
}

func TestNewRefuses(t *testing.T) {
	for _, test := range []struct {
		name   string
		config accounts.Config
		want   string
	}{
		{"a negative wait", accounts.Config{Cluster: &rest.Config{}, Wait: -time.Second}, "waiting for ServiceAccounts -1s: want from 0 to 5s"},
		{"a wait that the caller would not live to see", accounts.Config{Cluster: &rest.Config{}, Wait: 6 * time.Second}, "waiting for ServiceAccounts 6s: want from 0 to 5s"},
		{
			"a cluster that cannot be reached",
			accounts.Config{Cluster: &rest.Config{TLSClientConfig: rest.TLSClientConfig{CAFile: "/nonexistent"}}},
			"making a client for ServiceAccounts: open /nonexistent: no such file or directory",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := accounts.New(test.config); err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

// TestAnswersOfTheAPIServer: what is not known is never called missing, and
// nothing is quoted that is not Kubernetes'.
func TestAnswersOfTheAPIServer(t *testing.T) {
	for _, test := range []struct {
		name    string
		answer  http.HandlerFunc
		missing bool
		want    string
	}{
		{
			"not found",
			func(w http.ResponseWriter, _ *http.Request) {
				status(w, 404, "NotFound", `serviceaccounts "app" not found`)
			},
			true,
			`ServiceAccount "shop/app": no such ServiceAccount`,
		},
		{
			"a 404 from something else",
			func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "CANARY", http.StatusNotFound) },
			false,
			`reading ServiceAccount "shop/app": answered 404 Not Found, without a Status of Kubernetes`,
		},
		{
			"a login page",
			func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "CANARY", http.StatusUnauthorized) },
			false,
			`reading ServiceAccount "shop/app": answered 401 Unauthorized, without a Status of Kubernetes`,
		},
		{
			"forbidden",
			func(w http.ResponseWriter, _ *http.Request) { status(w, 403, "Forbidden", "no rights") },
			false,
			`reading ServiceAccount "shop/app": no rights`,
		},
		{
			"a fault",
			func(w http.ResponseWriter, _ *http.Request) { status(w, 500, "InternalError", "etcd is down") },
			false,
			`reading ServiceAccount "shop/app": etcd is down`,
		},
		{
			"a redirect",
			func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
			false,
			`reading ServiceAccount "shop/app": answered 302 Found, without a Status of Kubernetes`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			cache := newCache(t, accounts.Config{Cluster: newServer(t, test.answer)})
			_, err := cache.Identity(t.Context(), "shop", "app")
			if err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
			if errors.Is(err, admission.ErrNoServiceAccount) != test.missing {
				t.Errorf("%v is called missing: %t", err, !test.missing)
			}
		})
	}
}

// TestNamesThatCannotBe are refused without a question, whose path they would
// change.
func TestNamesThatCannotBe(t *testing.T) {
	cache := newCache(t, accounts.Config{Cluster: newServer(t, func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("asked for %s", r.URL)
	})})
	for _, name := range [][2]string{{"", "app"}, {"shop", ""}, {"shop", ".."}, {"..", "app"}, {"shop", "a/b"}, {"a/b", "app"}, {"shop", "a%2fb"}} {
		if _, err := cache.Identity(t.Context(), name[0], name[1]); !errors.Is(err, admission.ErrNoServiceAccount) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestQuestionsAreBounded: a burst of pods must not be a burst at the API
// server.
func TestQuestionsAreBounded(t *testing.T) {
	const callers, most = 200, 64
	var asking atomic.Int64
	full, over, release := make(chan struct{}), make(chan struct{}), make(chan struct{})
	config := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		n := asking.Add(1) // in all
		switch n {
		case most:
			close(full)
		case most + 1:
			close(over)
		}
		<-release
		metadata(w, "")
	})
	cache := newCache(t, accounts.Config{Cluster: config})
	var callersDone sync.WaitGroup
	for range callers {
		callersDone.Go(func() {
			if _, err := cache.Identity(t.Context(), "shop", "app"); err != nil {
				t.Error(err)
			}
		})
	}
	select {
	case <-full:
	case <-time.After(patience):
		t.Error("too few questions at a time")
	}
	select {
	case <-over:
		t.Errorf("more than %d questions at a time", most)
	case <-time.After(200 * time.Millisecond): // more would be here by now
	}
	close(release)
	callersDone.Wait()
}

// TestAHungServer holds up no lookup longer than its caller or askTimeout.
func TestAHungServer(t *testing.T) {
	hung := make(chan struct{})
	defer close(hung)
	config := newServer(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hung:
		case <-r.Context().Done():
		}
	})
	cache := newCache(t, accounts.Config{Cluster: config})
	started := time.Now()
	_, err := cache.Identity(t.Context(), "shop", "app")
	if took := time.Since(started); err == nil || errors.Is(err, admission.ErrNoServiceAccount) || took < 2*time.Second || took > 5*time.Second {
		t.Errorf("%v after %s, want 3 s", err, took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := cache.Identity(ctx, "shop", "app"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that the caller is gone", err)
	}
}

// TestReadySaysWhy: who waits for the cache is told what it waits for.
func TestReadySaysWhy(t *testing.T) {
	asked := make(chan struct{}, 100)
	cache := newCache(t, accounts.Config{Cluster: newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		status(w, 403, "Forbidden", "serviceaccounts is forbidden")
		asked <- struct{}{}
	})})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- cache.Run(ctx) }()
	const want = "the ServiceAccounts are not read yet: serviceaccounts is forbidden"
	for deadline := time.After(patience); ; {
		if err := cache.Ready(); err != nil && err.Error() == want {
			break
		}
		select {
		case <-asked:
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			t.Fatalf("%v; want %s", cache.Ready(), want)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestReady: before Run, the cache answers but is not ready.
func TestReady(t *testing.T) {
	cache := newCache(t, accounts.Config{Cluster: newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		metadata(w, `"azure.workload.identity/client-id":"`+clientID+`","other":"x"`)
	})})
	if err := cache.Ready(); err == nil || err.Error() != "the ServiceAccounts are not read yet" {
		t.Error(err)
	}
	identity, err := cache.Identity(t.Context(), "shop", "app")
	if err != nil || len(identity.Annotations) != 1 || !strings.Contains(fmt.Sprint(identity), "shop/app") {
		t.Errorf("%+v, %v", identity, err)
	}
}
