package chaos_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// statePath is where a store keeps what the publisher remembers.
const statePath = ".issuer-sync/state.json"

// patience is how long a daemon that is left alone may take until everything
// is right. It takes a fraction of a second; the machine may have other work.
const patience = time.Minute

// stage is one issuer: a daemon's home, its key files, and readers of what it
// publishes.
type stage struct {
	*home
	files   *keyFiles
	readers *readers
}

func newStage(t *testing.T, h *home, keys *pool, read public) *stage {
	t.Helper()
	book := newLedger(len(keys.keys), time.Now)
	s := &stage{
		home:    h,
		files:   &keyFiles{dir: h.path("keys"), pool: keys, ledger: book, names: make(map[int]string)},
		readers: &readers{issuer: h.issuer, pool: keys, ledger: book, read: read},
	}
	for n := range fewest {
		s.files.add(t, n) // RS256 is there from the start
	}
	return s
}

// published returns what is public now, which must be valid.
func (s *stage) published(t *testing.T) sighting {
	t.Helper()
	got, err := s.readers.look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// converge waits until all keys that must be public are, with all their
// algorithms.
func (s *stage) converge(t *testing.T, d *daemon, within time.Duration) {
	t.Helper()
	d.eventually(t, within, func() string {
		_, due := s.files.ledger.present()
		got := s.published(t)
		switch {
		case !got.discovery:
			return "there is no discovery document"
		case due&^got.keys != 0:
			return "not published: " + s.files.pool.describe(due&^got.keys)
		case got.keys&^got.covers != 0:
			return "the discovery document does not list the algorithms of keys: " + s.files.pool.describe(got.keys&^got.covers)
		}
		return ""
	})
}

// checkState fails the test unless the state can be parsed. It may be missing
// as long as nothing was published.
func (s *stage) checkState(t *testing.T, mayMiss bool) {
	t.Helper()
	body, found, err := s.readers.read(t.Context(), statePath)
	switch {
	case err != nil:
		t.Fatal(err)
	case found && !json.Valid(body):
		t.Errorf("%s is no JSON: %.300q", statePath, body)
	case !found && !mayMiss:
		t.Errorf("%s is missing", statePath)
	}
}

// verdict fails the test if the readers found anything wrong.
func (s *stage) verdict(t *testing.T) {
	t.Helper()
	r := s.readers
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, complaint := range r.first {
		t.Error(complaint)
	}
	if r.reads == 0 && !t.Failed() {
		t.Error("nobody read")
	}
}

// fromDirectory reads as a web server would serve the directory.
func fromDirectory(dir string) public {
	return func(_ context.Context, path string) ([]byte, bool, error) {
		body, err := os.ReadFile(filepath.Join(dir, path))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, false, nil
		}
		return body, err == nil, err
	}
}

// fromHTTP reads as relying parties do, anonymously.
func fromHTTP(client *http.Client, base string) public {
	return func(ctx context.Context, path string) ([]byte, bool, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/"+path, http.NoBody)
		if err != nil {
			return nil, false, err
		}
		response, err := client.Do(request)
		if err != nil {
			return nil, false, err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		switch {
		case err != nil || response.StatusCode == http.StatusOK:
			return body, err == nil, err
		case response.StatusCode == http.StatusNotFound:
			return nil, false, nil
		default:
			return nil, false, fmt.Errorf("%s: %s", response.Status, body)
		}
	}
}
