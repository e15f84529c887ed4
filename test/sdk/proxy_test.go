//go:build linux

package sdk_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/entra"
	"github.com/issuer-sync/issuer-sync/pkg/mutate"
)

// crowd is many credentials of one process.
type crowd struct {
	good, bad int
	last      string // error
}

// ask has that many ask at once, each once.
func ask(t *testing.T, p *pod, s sdkProcess, callers int, resource string) crowd {
	t.Helper()
	s.line, s.resource = append(s.line, "-callers", fmt.Sprint(callers)), resource
	out, err := s.run(t, p, patience)
	if err != nil {
		t.Fatal(err)
	}
	return counted(t, out)
}

func counted(t *testing.T, out string) (c crowd) {
	t.Helper()
	if n, err := fmt.Sscan(out, &c.good, &c.bad); n != 2 {
		t.Fatalf("got %q; want two numbers: %v", out, err)
	}
	c.last = strings.TrimSpace(strings.SplitN(out, " ", 3)[2])
	return c
}

func TestFirstCallersCostOneExchange(t *testing.T) {
	t.Parallel()
	s := adal(t, findParts(t), "0.9.24")
	p := newPod(t, options{proxy: mutate.ProxyRedirect})
	// Long enough for all of them to come before there is an answer.
	p.entra.Disturb(func(int) entra.Fault { return entra.Fault{Delay: 500 * time.Millisecond} })
	const callers = 100
	if c := ask(t, p, s, callers, s.resource); c.good != callers {
		t.Errorf("%d of %d got an access token; the last error: %s", c.good, callers, c.last)
	}
	if n := p.entra.Requests(); n != 1 {
		t.Errorf("%d exchanges for %d callers; want one", n, callers)
	}
}

// While Entra is down, what is in the cache is served, and what is not is
// refused as what may be had later: an SDK then waits, and its caller notices
// nothing else. Here Entra is down for seconds; that it may be for as long as
// an access token lives, with refreshes that fail, is tested in package
// exchange, where the clock is the test's.
func TestEntraIsDown(t *testing.T) {
	t.Parallel()
	s := adal(t, findParts(t), "0.9.24")
	p := newPod(t, options{proxy: mutate.ProxyRedirect})
	s.wantToken(t, p)

	p.entra.Disturb(func(int) entra.Fault { return entra.Fault{Status: http.StatusServiceUnavailable} })
	const callers = 20
	if c := ask(t, p, s, callers, s.resource); c.good != callers || p.entra.Requests() != 0 {
		t.Errorf("%d of %d got the access token of the cache, with %d exchanges; the last error: %s", c.good, callers, p.entra.Requests(), c.last)
	}
	other := s
	other.resource = "https://vault.azure.net"
	if c := ask(t, p, other, 1, other.resource); c.bad != 1 || !strings.Contains(c.last, "503") || !strings.Contains(c.last, "no answer from Entra") {
		t.Errorf("for another resource: %+v; want a 503 that names Entra", c)
	}

	// This one begins while Entra is down, and has its answer once that is over.
	began := p.entra.Requests()
	waiting := other.command(t.Context(), p)
	var out bytes.Buffer
	waiting.Stdout, waiting.Stderr = &out, &out
	if err := waiting.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an exchange", func() bool { return p.entra.Requests() > began })
	p.entra.Disturb(nil)
	if err := waiting.Wait(); err != nil {
		t.Fatalf("%v: %s", err, &out)
	}
	token, _, _ := strings.Cut(out.String(), " ")
	verify(t, p.entra, token, other.resource)
}

// TestTokenFileIsReplacedUnderLoad has callers whose every request costs an
// exchange, as no access token lives for longer than the time that the cache
// keeps away from its end, and replaces the token much faster than a kubelet.
func TestTokenFileIsReplacedUnderLoad(t *testing.T) {
	t.Parallel()
	s := adal(t, findParts(t), "0.9.24")
	p := newPod(t, options{proxy: mutate.ProxyRedirect, lifetime: time.Minute})
	p.publish(t, 1, 2)
	s.line = append(s.line, "-callers", "8", "-load")
	load := s.command(t.Context(), p)
	stop, err := load.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	load.Stdout, load.Stderr = &out, &out
	if err := load.Start(); err != nil {
		t.Fatal(err)
	}
	const replacements = 200
	last := 0
	exchanged := func() bool { return p.entra.Requests() >= last+2 }
	for n := range replacements {
		p.project(t, p.tokenByHand(t, 1+n%2))
		last = p.entra.Requests()
		eventually(t, "exchanges", exchanged)
	}
	// The key of every second token goes: who remembers such a token now fails.
	p.project(t, p.tokenByHand(t, 2))
	p.publish(t, 2)
	p.entra.Forget()
	last = p.entra.Requests() + 20
	eventually(t, "exchanges", exchanged)
	if err := stop.Close(); err != nil {
		t.Fatal(err)
	}
	if err := load.Wait(); err != nil {
		t.Fatalf("%v: %s", err, &out)
	}
	c := counted(t, out.String())
	t.Logf("%d requests, %d exchanges, %d tokens", c.good, p.entra.Requests(), replacements+1)
	if c.bad != 0 || c.good < replacements {
		t.Errorf("%d of %d requests did not get an access token; the last error: %s", c.bad, c.good+c.bad, c.last)
	}
}
