package rotation_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

const (
	// readRate is how often a second each place is read.
	readRate = 50
	// maxReaders bounds the readings of one place that are under way at once:
	// a second's worth, beyond which the reader falls behind.
	maxReaders = readRate
	// mintInterval is the time between two tokens of one server, mintTimeout ends
	// a request that hangs.
	mintInterval, mintTimeout = 150 * time.Millisecond, 30 * time.Second

	audience = "api://AzureADTokenExchange"
)

// witness reads the documents, collects tokens and judges both, until stopped.
type witness struct {
	issuer   oidc.Issuer
	start    time.Time
	ledger   *ledger
	judges   []*judge
	stopOnce func()
}

// watch begins to read all places and to collect tokens of all servers. The
// witness stops with the test at the latest.
func (s *stage) watch(t *testing.T) *witness {
	t.Helper()
	w := &witness{issuer: s.issuer, start: time.Now(), ledger: newLedger()}
	ctx, cancel := context.WithCancel(t.Context())
	var working sync.WaitGroup
	for _, place := range s.places {
		j := newJudge(place.name, s.issuer, w.ledger)
		w.judges = append(w.judges, j)
		working.Go(func() { w.read(ctx, place, j) })
	}
	for _, server := range s.servers {
		working.Go(func() { w.mint(ctx, server) })
	}
	w.stopOnce = sync.OnceFunc(func() { cancel(); working.Wait() })
	t.Cleanup(func() {
		w.stop()
		if _, texts := w.ledger.failed(); t.Failed() && len(texts) > 0 {
			t.Logf("the first failures that were seen:\n%s", strings.Join(texts, "\n"))
		}
	})
	return w
}

// stop ends the witness and returns for how long it watched.
func (w *witness) stop() time.Duration {
	watched := time.Since(w.start)
	w.stopOnce()
	return watched
}

// read has a place judged readRate times a second. Readings that are due are
// begun although earlier ones are under way, and made up for after a stall.
func (w *witness) read(ctx context.Context, place *place, j *judge) {
	var readers errgroup.Group
	readers.SetLimit(maxReaders)
	for n := time.Duration(0); ctx.Err() == nil; n++ {
		select {
		case <-ctx.Done():
			continue
		case <-time.After(time.Until(w.start.Add(n * time.Second / readRate))):
		}
		readers.Go(func() error {
			tokens := w.ledger.issued()
			r, err := place.read(ctx, w.issuer)
			if ctx.Err() == nil {
				j.judge(ctx, r, err, tokens)
			}
			return nil
		})
	}
	_ = readers.Wait() // none returns an error
}

// mint collects tokens of a server. That it gives none is excused only while it
// is down.
func (w *witness) mint(ctx context.Context, s *server) {
	ticker := time.NewTicker(mintInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		before := s.outages.Load()
		token, err := s.token(ctx)
		down := before%2 == 1 || s.outages.Load() != before
		switch {
		case err == nil:
			w.ledger.issue(token)
		case ctx.Err() == nil && !down:
			w.ledger.fail("minting", "server %s: %v", s.name, err)
		}
	}
}

// token is a token that an API server issued.
type token struct {
	server, keyID, raw string
}

// token requests a token with the usual lifetime, an hour: no token expires
// during the test.
func (s *server) token(ctx context.Context) (token, error) {
	ctx, cancel := context.WithTimeout(ctx, mintTimeout)
	defer cancel()
	answer, err := s.client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).CreateToken(ctx, "default",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}}}, metav1.CreateOptions{})
	if err != nil {
		return token{}, err
	}
	parsed, err := jwt.ParseSigned(answer.Status.Token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return token{}, fmt.Errorf("reading the token: %w", err)
	}
	return token{server: s.name, keyID: parsed.Headers[0].KeyID, raw: answer.Status.Token}, nil
}

// awaitTokens waits until every server has given one more token of the key.
func (w *witness) awaitTokens(t *testing.T, s *stage, keyID string) {
	t.Helper()
	begun := len(w.ledger.issued())
	for _, server := range s.servers {
		await(t, fmt.Sprintf("a token of server %s and key %s", server.name, keyID), func() error {
			for _, token := range w.ledger.issued()[begun:] {
				if token.server == server.name && token.keyID == keyID {
					return nil
				}
			}
			return fmt.Errorf("none among %d tokens", len(w.ledger.issued())-begun)
		})
	}
}
