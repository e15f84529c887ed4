package servingcert_test

import (
	"io"
	"net/http"
	"sync"
)

// echo is something between a replica and its API server that answers patches
// with what they say, until it is off.
type echo struct {
	next http.RoundTripper

	mu   sync.Mutex // guards what follows
	dead bool
	seen [][]byte
}

func (e *echo) RoundTrip(req *http.Request) (*http.Response, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.dead || req.Method != http.MethodPatch {
		return e.next.RoundTrip(req)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	e.seen = append(e.seen, body)
	return answer(http.StatusInternalServerError, string(body)), nil
}

func (e *echo) off() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dead = true
}
