package chaos_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// public is where relying parties read: an object's whole content, or that
// there is none.
type public func(ctx context.Context, path string) (body []byte, found bool, err error)

// sighting is what one read found.
type sighting struct {
	discovery, jwks bool
	// keys are those of the JWK set, covers those whose algorithm the
	// discovery document lists.
	keys, covers keySet
}

// readers read the documents as relying parties do and hold them against the
// ledger.
type readers struct {
	issuer string
	pool   *pool
	ledger *ledger
	read   public

	verdicts sync.Map // of bytes that were seen before

	mu                   sync.Mutex // guards what follows
	reads, invalid, lost int
	first                []string // of what is wrong
}

// readerCount is how many read at the same time.
const readerCount = 50

// start begins to read, each reader once in the given time, and returns how to
// end that.
func (r *readers) start(ctx context.Context, pace time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	for range readerCount {
		running.Go(func() {
			for ctx.Err() == nil {
				r.check(ctx)
				select {
				case <-ctx.Done():
				case <-time.After(pace/2 + rand.N(pace)):
				}
			}
		})
	}
	return func() {
		cancel()
		running.Wait()
	}
}

// check reads once and counts what is wrong.
func (r *readers) check(ctx context.Context) {
	need := r.ledger.demand()
	got, err := r.look(ctx)
	if ctx.Err() != nil {
		return
	}
	if need.jwks && !got.jwks {
		err = cmp.Or(err, errors.New("the JWK set is gone"))
	}
	if need.discovery && !got.discovery {
		err = cmp.Or(err, errors.New("the discovery document is gone"))
	}
	var lost, uncovered keySet
	if err == nil {
		lost, uncovered = r.ledger.note(need, got)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads++
	r.lost += lost.len()
	if lost != 0 {
		r.complain("live keys are lost: %s %s", r.pool.describe(lost), r.ledger.tell(lost))
	}
	if uncovered != 0 {
		err = fmt.Errorf("the discovery document no longer lists the algorithms of keys: %s", r.pool.describe(uncovered))
	}
	if err != nil {
		r.invalid++
		r.complain("%v", err)
	}
}

// complain keeps the first few different things that are wrong. The lock must
// be held.
func (r *readers) complain(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	known := slices.ContainsFunc(r.first, func(s string) bool { return strings.HasSuffix(s, text) })
	if !known && len(r.first) < 10 {
		r.first = append(r.first, time.Now().UTC().Format("15:04:05.000 ")+text)
	}
}

// look reads the discovery document and then the JWK set. In this order a
// change in between excuses nothing that is checked: the set that a discovery
// document names was there before it.
func (r *readers) look(ctx context.Context) (sighting, error) {
	var got sighting
	body, found, err := r.read(ctx, oidc.DiscoveryPath)
	if got.discovery = found; err == nil && found {
		got.covers, err = r.judge(oidc.DiscoveryPath, body, r.discovery)
	}
	if err != nil {
		return got, fmt.Errorf("the discovery document: %w", err)
	}
	body, found, err = r.read(ctx, oidc.JWKSPath)
	if got.jwks = found; err == nil && found {
		got.keys, err = r.judge(oidc.JWKSPath, body, r.jwks)
	}
	if err != nil {
		return got, fmt.Errorf("the JWK set: %w", err)
	}
	if got.discovery && !got.jwks {
		return got, errors.New("the discovery document is there without the JWK set that it names")
	}
	return got, nil
}

type verdict struct {
	keys keySet
	err  error
}

// judge remembers the verdict on the same bytes.
func (r *readers) judge(path string, body []byte, judge func([]byte) (keySet, error)) (keySet, error) {
	content := path + " " + string(body)
	known, ok := r.verdicts.Load(content)
	if !ok {
		found, err := judge(body)
		if err != nil {
			err = fmt.Errorf("%w, in %d bytes %.300q", err, len(body), body)
		}
		known, _ = r.verdicts.LoadOrStore(content, verdict{found, err})
	}
	v := known.(verdict)
	return v.keys, v.err
}

// jwks returns the keys of a JWK set, which must be whole and hold keys of the
// pool only.
func (r *readers) jwks(body []byte) (keySet, error) {
	set, skipped, err := keys.ParseJWKS(oidc.JWKSPath, body)
	if err != nil {
		return 0, err
	}
	if len(skipped) > 0 {
		return 0, skipped[0]
	}
	var found keySet
	for key := range set.All() {
		n, known := r.pool.byID[key.ID]
		if !known {
			return 0, fmt.Errorf("key %q is none of the test's", key.ID)
		}
		found = found.with(n, true)
	}
	want, err := r.pool.set(found)
	switch {
	case err != nil:
		return 0, err
	case found == 0:
		return 0, errors.New("it is empty")
	case !set.Equal(want):
		return 0, errors.New("it has an altered key")
	}
	return found, nil
}

// discovery returns the keys whose algorithm the document lists. It must be
// whole and this issuer's.
func (r *readers) discovery(body []byte) (keySet, error) {
	var document struct {
		Issuer     string   `json:"issuer"`
		JWKSURI    string   `json:"jwks_uri"`
		Responses  []string `json:"response_types_supported"`
		Subjects   []string `json:"subject_types_supported"`
		Algorithms []string `json:"id_token_signing_alg_values_supported"`
	}
	if err := keys.UnmarshalStrict(body, &document); err != nil {
		return 0, err
	}
	switch {
	case document.Issuer != r.issuer:
		return 0, fmt.Errorf("it names issuer %q; want %q", document.Issuer, r.issuer)
	case document.JWKSURI != r.issuer+"/"+oidc.JWKSPath:
		return 0, fmt.Errorf("it names the JWK set %q", document.JWKSURI)
	case len(document.Responses) == 0 || len(document.Subjects) == 0 || len(document.Algorithms) == 0:
		return 0, errors.New("a required member is empty")
	}
	var covers keySet
	for n, key := range r.pool.keys {
		covers = covers.with(n, slices.Contains(document.Algorithms, key.Algorithm))
	}
	return covers, nil
}

// describe names keys for people.
func (p *pool) describe(s keySet) string {
	var list []string
	for n, key := range p.keys {
		if s.has(n) {
			list = append(list, fmt.Sprintf("%d %s %.8s", n, key.Algorithm, key.ID))
		}
	}
	return fmt.Sprintf("%q", list)
}
