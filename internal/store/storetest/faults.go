package storetest

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// A Fault answers a request in the place of the next round tripper, which it
// may use.
type Fault func(next http.RoundTripper, req *http.Request) (*http.Response, error)

// Faults injects faults into the requests of the stores that are opened with
// its Wrap. It is safe for concurrent use.
type Faults struct {
	mu      sync.Mutex // guards all below
	strikes func(*http.Request) bool
	fault   Fault
	struck  int
}

// Wrap is the [Wrap] that injects the faults.
func (f *Faults) Wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		f.mu.Lock()
		fault := f.fault
		if fault != nil && f.strikes(req) {
			f.struck++
		} else {
			fault = nil
		}
		f.mu.Unlock()
		if fault == nil {
			return next.RoundTrip(req)
		}
		return fault(next, req)
	})
}

// During runs act while the fault strikes every request that strikes matches,
// and fails the test if there was none.
func (f *Faults) During(t *testing.T, strikes func(*http.Request) bool, fault Fault, act func()) {
	t.Helper()
	f.mu.Lock()
	f.strikes, f.fault, f.struck = strikes, fault, 0
	f.mu.Unlock()
	act()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = nil
	if f.struck == 0 {
		t.Error("no request was struck by the fault")
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (r roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return r(req) }

// Any matches every request.
func Any(*http.Request) bool { return true }

// Reads matches requests that change nothing.
func Reads(req *http.Request) bool {
	return req.Method == http.MethodGet || req.Method == http.MethodHead
}

// Writes matches all others.
func Writes(req *http.Request) bool { return !Reads(req) }

// errCut is what a client sees of a connection that was cut.
var errCut = errors.New("connection cut by the test")

// Refuse fails without sending the request.
func Refuse(_ http.RoundTripper, req *http.Request) (*http.Response, error) {
	closeBody(req)
	return nil, errCut
}

// DropAnswer sends the request and loses the answer: what it asks for was
// done.
func DropAnswer(next http.RoundTripper, req *http.Request) (*http.Response, error) {
	resp, err := next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return nil, err
	}
	return nil, errCut
}

// CutAnswer cuts the connection in the middle of the answer's body.
func CutAnswer(next http.RoundTripper, req *http.Request) (*http.Response, error) {
	resp, err := next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(cutAfter(string(body[:len(body)/2])))
	return resp, nil
}

// CutRequest cuts the connection in the middle of the request's body.
func CutRequest(next http.RoundTripper, req *http.Request) (*http.Response, error) {
	defer closeBody(req)
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	cut := req.Clone(req.Context())
	cut.GetBody = nil
	cut.Body = io.NopCloser(cutAfter(string(body[:len(body)/2])))
	return next.RoundTrip(cut)
}

func cutAfter(s string) io.Reader {
	return io.MultiReader(strings.NewReader(s), failing{})
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errCut }

// Answer answers with the status, headers and body, and sends nothing.
func Answer(status int, header http.Header, body string) Fault {
	return func(_ http.RoundTripper, req *http.Request) (*http.Response, error) {
		closeBody(req)
		return &http.Response{
			Status: http.StatusText(status), StatusCode: status,
			Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: header.Clone(), Body: io.NopCloser(strings.NewReader(body)),
			ContentLength: int64(len(body)), Request: req,
		}, nil
	}
}

// closeBody does what a round tripper owes to a request that it does not send.
func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}
