package chaos_test

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/issuer-sync/issuer-sync/test/servers"
)

// mode is what the proxy does to requests.
type mode string

const (
	pass        mode = "pass"
	tooMany     mode = "429 with Retry-After"
	unavailable mode = "503"
	readOnly    mode = "503 for writes alone"
	hang        mode = "no answer"              // until the mode changes or the client gives up
	cut         mode = "answers cut off"        // amid the body, or before the status if there is none
	loseWrites  mode = "writes without answers" // the store has them, the client never hears of it
	down        mode = "stopped"                // what arrives is cut off and goes nowhere
)

// proxy stands between the daemon and Azurite, over HTTP, and breaks things.
type proxy struct {
	*httptest.Server
	forward *httputil.ReverseProxy
	azurite *http.Client
	// puts and gets tell that a write or a read arrived; each holds one signal.
	puts, gets chan struct{}

	mu      sync.Mutex // guards what follows
	mode    mode
	changed chan struct{}  // closed when the mode changes
	counts  map[string]int // of requests, by method
}

func newProxy(t *testing.T, azurite *servers.Azurite) *proxy {
	t.Helper()
	target, err := url.Parse(azurite.AccountURL())
	if err != nil {
		t.Fatal(err)
	}
	target.Path = ""
	p := &proxy{mode: pass, changed: make(chan struct{}), puts: make(chan struct{}, 1), gets: make(chan struct{}, 1), counts: make(map[string]int)}
	p.azurite = manyConnections(azurite.Client())
	p.forward = &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: p.azurite.Transport,
		// A store that is gone answers nothing.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	p.Server = httptest.NewServer(p) // on 127.0.0.1
	t.Cleanup(func() {
		p.set(pass)
		p.Close()
	})
	return p
}

// manyConnections returns a client that keeps a connection for each reader.
func manyConnections(client *http.Client) *http.Client {
	transport := client.Transport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost, transport.DisableCompression = readerCount, true
	return &http.Client{Transport: transport, CheckRedirect: client.CheckRedirect, Timeout: client.Timeout}
}

// newBlobHome returns a home whose store is a new public container behind the
// proxy. The issuer is the container itself.
func newBlobHome(t *testing.T, azurite *servers.Azurite, p *proxy) *home {
	t.Helper()
	container := "chaos-" + strings.ToLower(rand.Text())
	issuer := azurite.CreateContainer(t, container, true)
	behind := p.URL + strings.TrimPrefix(issuer, strings.TrimSuffix(azurite.AccountURL(), "/"+azurite.AccountName()))
	h := newHome(t, issuer, fmt.Sprintf("{azureBlob: {url: %q, credential: sas, credentialFile: sas}}", behind))
	h.write(t, "sas", azurite.SAS(t, container))
	return h
}

// set changes the mode; requests that hang go on in the new one.
func (p *proxy) set(m mode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = m
	close(p.changed)
	p.changed = make(chan struct{})
}

// count returns how many requests of the method arrived so far.
func (p *proxy) count(method string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts[method]
}

func (p *proxy) now() (mode, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mode, p.changed
}

// ServeHTTP implements [http.Handler].
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.counts[r.Method]++
	p.mu.Unlock()
	write := r.Method == http.MethodPut
	if write {
		tell(p.puts)
	} else {
		tell(p.gets)
	}
	m, changed := p.now()
	for m == hang {
		select {
		case <-changed:
			m, changed = p.now()
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
	switch {
	case m == down:
		panic(http.ErrAbortHandler)
	case m == tooMany:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many requests", http.StatusTooManyRequests)
	case m == unavailable || m == readOnly && write:
		http.Error(w, "the server is busy", http.StatusServiceUnavailable)
	case m == cut || m == loseWrites && write:
		p.cutOff(w, r)
	default:
		p.forward.ServeHTTP(w, r)
	}
}

// cutOff gives half of the answer's body and ends the connection.
func (p *proxy) cutOff(w http.ResponseWriter, r *http.Request) {
	answer := httptest.NewRecorder()
	p.forward.ServeHTTP(answer, r)
	if body := answer.Body.Bytes(); len(body) > 0 {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(answer.Code)
		_, _ = w.Write(body[:len(body)/2]) // the client is about to see an error anyway
		_ = http.NewResponseController(w).Flush()
	}
	panic(http.ErrAbortHandler)
}
