package rotation_test

import (
	"context"
	"crypto"
	"fmt"
	"maps"
	"sync"
	"time"

	oidcclient "github.com/coreos/go-oidc/v3/oidc"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// ledger is what must hold everywhere: the tokens that were issued, until when
// each key is needed, and what failed.
type ledger struct {
	mu       sync.Mutex // guards all below
	tokens   []token    // only added to
	released map[string]time.Time
	failures map[string]int
	texts    []string
}

func newLedger() *ledger {
	return &ledger{released: make(map[string]time.Time), failures: make(map[string]int)}
}

func (l *ledger) issue(t token) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tokens = append(l.tokens, t)
}

// issued returns the tokens that exist now.
func (l *ledger) issued() []token {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tokens
}

// release says from when on a key may be missing and its tokens may fail.
func (l *ledger) release(keyID string, from time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.released[keyID] = from
}

// needed reports whether a key had to be there for a reading that was over at
// the given time.
func (l *ledger) needed(keyID string, at time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	from, released := l.released[keyID]
	return !released || at.Before(from)
}

// maxTexts keeps a lasting fault from filling the log.
const maxTexts = 10

func (l *ledger) fail(kind, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures[kind]++
	if len(l.texts) < maxTexts {
		l.texts = append(l.texts, kind+": "+fmt.Sprintf(format, args...))
	}
}

// failed returns how many failures there are of each kind, and the first of
// all, in words.
func (l *ledger) failed() (map[string]int, []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.failures), l.texts
}

// judge judges the readings of one place.
type judge struct {
	place  string
	issuer oidc.Issuer
	ledger *ledger

	mu sync.Mutex // guards all below
	// verified is, for each JWK set that was read, how many of the ledger's
	// tokens were verified against it.
	verified      map[string]int
	readings      int
	verifications int
	lastStart     time.Time // of the readings judged so far
	longestGap    time.Duration
	seen          map[string]sighting
}

// sighting is a key that became public.
type sighting struct {
	key keys.Key
	// after is when the last reading without it began, at when the first one
	// with it was over: it became public between them.
	after, at time.Time
}

func newJudge(place string, issuer oidc.Issuer, l *ledger) *judge {
	return &judge{place: place, issuer: issuer, ledger: l, verified: make(map[string]int), seen: make(map[string]sighting)}
}

// judge judges one reading, and the tokens that had been issued before it
// began.
func (j *judge) judge(ctx context.Context, r reading, err error, tokens []token) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.readings++
	if r.started.After(j.lastStart) {
		if !j.lastStart.IsZero() {
			j.longestGap = max(j.longestGap, r.started.Sub(j.lastStart))
		}
		defer func() { j.lastStart = r.started }()
	}
	if err != nil {
		j.ledger.fail("documents", "%s: %v", j.place, err)
		return
	}
	j.compareKeys(r)
	j.verify(ctx, r, tokens)
}

// compareKeys demands every key that an earlier reading showed, unchanged,
// until it is released.
func (j *judge) compareKeys(r reading) {
	for id, known := range j.seen {
		key, found := r.keys.Key(id)
		switch {
		case found && !samePublic(key, known.key):
			j.ledger.fail("keys", "%s: key %s changed", j.place, id)
		case !found && known.at.Before(r.started) && j.ledger.needed(id, r.finished):
			j.ledger.fail("keys", "%s: key %s is missing", j.place, id)
		}
	}
	for key := range r.keys.All() {
		if _, known := j.seen[key.ID]; !known {
			j.seen[key.ID] = sighting{key, j.lastStart, r.finished}
		}
	}
}

func samePublic(a, b keys.Key) bool {
	public, ok := a.Public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(b.Public)
}

// verify verifies all tokens whose keys are not released against the key set
// that was read, as a relying party does that remembers nothing: with the key
// that the token names and no other. A token that was verified against the very
// same bytes by an earlier reading would get the same answer again: only new
// tokens are, and all of them when the bytes change.
func (j *judge) verify(ctx context.Context, r reading, tokens []token) {
	done := min(j.verified[r.jwks], len(tokens))
	for _, token := range tokens[done:] {
		if !j.ledger.needed(token.keyID, r.finished) {
			continue
		}
		j.verifications++
		if err := verifyToken(ctx, j.issuer, r.keys, token); err != nil {
			j.ledger.fail("tokens", "%s: token of server %s and key %s: %v", j.place, token.server, token.keyID, err)
		}
	}
	j.verified[r.jwks] = max(j.verified[r.jwks], len(tokens))
}

func verifyToken(ctx context.Context, issuer oidc.Issuer, set keys.Set, token token) error {
	key, found := set.Key(token.keyID)
	if !found {
		return fmt.Errorf("the JWK set has only keys %v", set.IDs())
	}
	keySet := &oidcclient.StaticKeySet{PublicKeys: []crypto.PublicKey{key.Public}}
	_, err := oidcclient.NewVerifier(issuer.String(), keySet, &oidcclient.Config{ClientID: audience}).Verify(ctx, token.raw)
	return err
}
