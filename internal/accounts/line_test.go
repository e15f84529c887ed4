package accounts_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"

	"github.com/issuer-sync/issuer-sync/internal/accounts"
)

const (
	emptyList = `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"1"},"items":[` +
		`{"metadata":{"namespace":"shop","name":"app","annotations":{"azure.workload.identity/client-id":"` + clientID + `"}}}]}`
	tooMany = `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"too many","reason":"TooManyRequests","code":429}`
)

// gateway stands in for the network and an API server without WatchList. fault,
// if there is one, answers in its place; to set it ends all watches.
type gateway struct {
	fault   atomic.Pointer[func(*http.Request) (*http.Response, error)]
	watches chan *io.PipeWriter // those that are open
}

func newGateway() *gateway { return &gateway{watches: make(chan *io.PipeWriter, 1)} }

func (g *gateway) RoundTrip(r *http.Request) (*http.Response, error) {
	if fault := g.fault.Load(); fault != nil {
		return (*fault)(r)
	}
	query := r.URL.Query()
	switch {
	case query.Get("sendInitialEvents") != "":
		return reply(http.StatusUnprocessableEntity, "{}"), nil
	case query.Get("watch") == "":
		return reply(http.StatusOK, emptyList), nil
	}
	body, events := io.Pipe()
	context.AfterFunc(r.Context(), func() { _ = events.Close() })
	g.watches <- events
	answer := reply(http.StatusOK, "")
	answer.Body = body
	return answer, nil
}

func (g *gateway) cut(fault func(*http.Request) (*http.Response, error)) {
	g.fault.Store(&fault)
	_ = (<-g.watches).Close()
}

func reply(code int, body string) *http.Response {
	return &http.Response{
		StatusCode: code, Status: fmt.Sprint(code, " ", http.StatusText(code)), Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(body)),
	}
}

func refuse(*http.Request) (*http.Response, error) {
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
}

func throttle(*http.Request) (*http.Response, error) {
	return reply(http.StatusTooManyRequests, tooMany), nil
}

func hang(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// withoutThrottle takes away client-go's throttle of errors, which remembers a
// time outside of synctest's bubble.
func withoutThrottle(t *testing.T) {
	t.Helper()
	handlers := utilruntime.ErrorHandlers
	utilruntime.ErrorHandlers = handlers[:1] // the log
	t.Cleanup(func() { utilruntime.ErrorHandlers = handlers })
}

// TestRunEndsAtOnce: a process that is told to end ends, whatever the API server
// does and however long that has been so.
func TestRunEndsAtOnce(t *testing.T) {
	withoutThrottle(t)
	for name, fault := range map[string]func(*http.Request) (*http.Response, error){"nobody listens": refuse, "too many requests": throttle, "no answer": hang} {
		for _, synced := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, synced %t", name, synced), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					g := newGateway()
					if !synced {
						g.fault.Store(&fault)
					}
					cache := newCache(t, accounts.Config{Cluster: &rest.Config{Host: "http://api.test", Transport: g}})
					ctx, stop := context.WithCancel(t.Context())
					done := make(chan error, 1)
					go func() { done <- cache.Run(ctx) }()
					synctest.Wait()
					if synced {
						g.cut(fault)
					}
					time.Sleep(5 * time.Minute)
					stop()
					stopped := time.Now()
					if err := <-done; err != nil || time.Since(stopped) > time.Second {
						t.Errorf("Run ended %s after its context, with %v", time.Since(stopped), err)
					}
				})
			})
		}
	}
}

// TestStale: identities that may be out of date show, in the log only if it lasts.
func TestStale(t *testing.T) {
	withoutThrottle(t)
	const (
		begins = `level=WARN msg=problem subject="service accounts" err=`
		ends   = `level=INFO msg="problem is over" subject="service accounts"` + "\n"
	)
	const get = `"Get \"http://api.test/api/v1/serviceaccounts`
	for _, test := range []struct {
		name  string
		fault func(*http.Request) (*http.Response, error)
		lasts time.Duration
		want  string // how the log begins; nothing more comes until it is over
	}{
		{"a restart of the API server", refuse, 5 * time.Second, ""},
		{"nobody listens", refuse, 10 * time.Minute, begins + get},
		{"too many requests", throttle, 10 * time.Minute, begins + `"too many"` + "\n"},
		{"no answer", hang, 10 * time.Minute, begins + `"the API server has not answered yet"` + "\n"},
		{
			"a right that is missing",
			func(*http.Request) (*http.Response, error) { return nil, errors.New("no rights") },
			10 * time.Minute,
			begins + get,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var logged bytes.Buffer // written in the bubble only, and read while all in it wait
				g := newGateway()
				cache := newCache(t, accounts.Config{Cluster: &rest.Config{Host: "http://api.test", Transport: g}, Log: problems(&logged)})
				ctx, stop := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() {
					defer close(done)
					if err := cache.Run(ctx); err != nil {
						t.Error(err)
					}
				}()
				sleep(time.Hour)
				if cache.Stale() != 0 || cache.Len() != 1 || logged.Len() > 0 {
					t.Errorf("at rest: stale for %s, %d kept, logged %q", cache.Stale(), cache.Len(), &logged)
				}
				g.cut(test.fault)
				sleep(test.lasts)
				if stale := cache.Stale(); stale < test.lasts-5*time.Second || stale > test.lasts {
					t.Errorf("stale for %s after %s", stale, test.lasts)
				}
				if cache.Ready() != nil || cache.Len() != 1 {
					t.Error("what is known is given up")
				}
				begun := logged.String()
				if !strings.HasPrefix(begun, test.want) || strings.Count(begun, "\n") != min(len(test.want), 1) {
					t.Errorf("logged %q; want %q", begun, test.want)
				}
				g.fault.Store(nil)
				if test.name == "no answer" { // the request under way never ends
					stop()
					<-done
					return
				}
				sleep(2 * time.Minute) // the longest that client-go waits, and the next look
				want := begun
				if test.want != "" {
					want += ends
				}
				if diff := cmp.Diff(want, logged.String()); diff != "" || cache.Stale() != 0 {
					t.Errorf("in the end: stale for %s, log (-want +got):\n%s", cache.Stale(), diff)
				}
				stop()
				<-done
			})
		})
	}
}

// sleep returns when all that was to happen by then has happened.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// problems logs what this package says of problems, without the time.
func problems(to io.Writer) *slog.Logger {
	handler := slog.NewTextHandler(to, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	return slog.New(onlyProblems{handler})
}

type onlyProblems struct{ slog.Handler }

func (h onlyProblems) Handle(ctx context.Context, r slog.Record) error {
	if !strings.HasPrefix(r.Message, "problem") {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}
