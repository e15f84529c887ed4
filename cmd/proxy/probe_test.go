package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestProbe(t *testing.T) {
	answers := func(status int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if status == http.StatusFound {
				w.Header().Set("Location", "/elsewhere")
			}
			if r.URL.Path != "/readyz" {
				status, text = http.StatusOK, "not what was asked for"
			}
			w.WriteHeader(status)
			fmt.Fprint(w, text)
		}
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    string // of the error, behind the URL; "" for success
	}{
		"ready":                         {answers(http.StatusOK, "ok"), ""},
		"not ready":                     {answers(http.StatusServiceUnavailable, "no token\n"), ` answered 503 Service Unavailable: "no token\n"`},
		"somebody else, who redirects":  {answers(http.StatusFound, ""), ` answered 302 Found: ""`},
		"somebody else, who talks much": {answers(http.StatusTeapot, strings.Repeat("x", 1000)), ` answered 418 I'm a teapot: "` + strings.Repeat("x", 200) + `"`},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(c.handler)
			defer server.Close()
			got := ""
			if err := probe(t.Context(), new(http.Transport), server.URL+"/readyz"); err != nil {
				got = strings.TrimPrefix(err.Error(), server.URL+"/readyz")
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// refusals calls then after the n-th refused connection.
type refusals struct {
	n    int
	then func()
}

func (r *refusals) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if errors.Is(err, syscall.ECONNREFUSED) {
		if r.n--; r.n == 0 {
			r.then()
		}
	}
	return response, err
}

func TestProbeWaitsForTheListener(t *testing.T) {
	address := free(t)
	late := &refusals{n: 3, then: func() {
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
		if err != nil {
			t.Error(err)
			return
		}
		ready := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
		server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: ready, ReadHeaderTimeout: time.Second}}
		server.Start()
		t.Cleanup(server.Close)
	}}
	if err := probe(t.Context(), late, "http://"+address+"/readyz"); err != nil || late.n != 0 {
		t.Errorf("%v, with %d refusals to go", err, late.n)
	}
}

func TestProbeEndsInTime(t *testing.T) {
	// It accepts nothing: the kernel connects.
	hung, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hung.Close()
	nobody := free(t)
	for name, c := range map[string]struct {
		address, want string
	}{
		"somebody who says nothing": {hung.Addr().String(), `Get "http://` + hung.Addr().String() + `/readyz": context deadline exceeded`},
		"nobody":                    {nobody, `nothing listens there: Get "http://` + nobody + `/readyz": dial tcp ` + nobody + `: connect: connection refused`},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			err := probe(ctx, new(http.Transport), "http://"+c.address+"/readyz")
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

// The kubelet gives the startup probe ten seconds, and then says nothing but
// that they are over.
func TestProbeEndsBeforeTheKubeletsPatience(t *testing.T) {
	if probeTimeout > 9500*time.Millisecond {
		t.Errorf("it probes for %s; want less than 10s", probeTimeout)
	}
}
