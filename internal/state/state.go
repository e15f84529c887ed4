// Package state keeps what a publisher remembers of an issuer's keys, as one
// JSON object in a store, so that a restart on another machine continues where
// the last one stopped. The documents are a projection of it.
//
// It holds public keys, times and hashes of names, nothing secret. What to
// remember is decided elsewhere (keys.Decide).
package state

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// Path is where the state is in its store.
const Path = ".issuer-sync/state.json"

// State is what is remembered. A State never changes; [State.With] makes another.
type State struct {
	// Issuer is the issuer whose keys these are.
	Issuer string
	// Records are the keys, sorted by ID.
	Records []keys.Record
	// Stores are the IDs ([keys.OriginID] of the name) of the stores whose
	// content was taken into account: what they hold beyond the state is not ours.
	Stores []string
	// Matched are the IDs of the sources that were once seen to sign with a
	// configured issuer.
	Matched []string
	// Settled says that the first publication is over: every origin has answered.
	Settled bool
	// Changed is when the published keys last changed.
	Changed time.Time
	// Removed are the IDs of the keys that left last, the latest at the end: a
	// store that still holds one was left so by a crash.
	Removed []string
	// MovedFrom is the [State.Digest] of the state in another store that this one continues.
	MovedFrom string

	// What a newer version of this program wrote beside the above: of the whole
	// state, and of each key.
	unknown    members
	unknownKey map[string]members
}

type members map[string]json.RawMessage

// Published are the keys that the documents have.
func (s State) Published() keys.Set { return keys.Published(s.Records) }

// Knows reports whether the store of that name was taken into account.
func (s State) Knows(store string) bool { return slices.Contains(s.Stores, keys.OriginID(store)) }

// Had reports whether the key was published once, and is not any more.
func (s State) Had(id string) bool {
	return slices.Contains(s.Removed, id) ||
		slices.ContainsFunc(s.Records, func(r keys.Record) bool { return r.Key.ID == id && !r.Revoked.IsZero() })
}

// HasMatched reports whether the source of that name was once seen to sign
// with a configured issuer.
func (s State) HasMatched(source string) bool {
	return slices.Contains(s.Matched, keys.OriginID(source))
}

// With returns the state with other records, which also knows these stores and
// matched sources.
func (s State) With(records []keys.Record, stores, matched []string) State {
	s.Records = records
	s.Stores = withIDs(s.Stores, stores)
	s.Matched = withIDs(s.Matched, matched)
	return s
}

// maxRemoved is how many keys that left are remembered: more than could leave
// before every store was written.
const maxRemoved = 20

// Since returns the state with what differs from the one before noted as of now.
func (s State) Since(before State, now time.Time) State {
	if !s.Published().Equal(before.Published()) {
		s.Changed = now
	}
	gone := before.Published().Without(s.Published()).IDs()
	removed := slices.DeleteFunc(slices.Concat(before.Removed, gone), func(id string) bool {
		return slices.ContainsFunc(s.Records, func(r keys.Record) bool { return r.Key.ID == id && r.Revoked.IsZero() })
	})
	s.Removed = removed[max(0, len(removed)-maxRemoved):]
	return s
}

func withIDs(ids, names []string) []string {
	ids = slices.Clone(ids)
	for _, name := range names {
		ids = append(ids, keys.OriginID(name))
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// ErrDamaged is returned for a state that cannot be read as one: somebody
// else's write, because a store never shows half an object.
var ErrDamaged = errors.New("it is no state that this program wrote")

// ErrMoved is returned for a state that another store continues.
var ErrMoved = errors.New("it was moved to another store, when the configuration named that for it")

// ErrNewer is returned for a state of a newer format. It must not be replaced.
var ErrNewer = errors.New("it was written by a newer version; use that one, or a newer one still")

// Read returns the state that the store holds, and its version to base a write
// on. An absent state is oidc.ErrNotFound; a damaged one ErrDamaged and one that
// was moved ErrMoved, with its version. After any other error nothing is known.
func Read(ctx context.Context, store oidc.Store) (State, oidc.Version, error) {
	object, version, err := store.Read(ctx, Path)
	if err != nil {
		return State{}, "", fmt.Errorf("reading the state: %w", err)
	}
	state, err := Parse(object.Body)
	if err != nil {
		return State{}, version, fmt.Errorf("reading the state: %w", err)
	}
	return state, version, nil
}

// Write stores the state if base is still its version. It returns
// oidc.ErrConflict if another writer came first. A write whose answer was lost,
// but which the store shows, is a success.
func Write(ctx context.Context, store oidc.Store, state State, base oidc.Version) error {
	body, err := state.Render()
	if err != nil {
		return fmt.Errorf("writing the state: %w", err)
	}
	return write(ctx, store, body, base)
}

// Abandon replaces the state, if base is still its version, by a note that
// another store continues it. It returns what [Write] does.
func Abandon(ctx context.Context, store oidc.Store, issuer string, base oidc.Version) error {
	body, err := json.Marshal(document{Version: format, Issuer: issuer, Moved: true})
	if err != nil {
		return err
	}
	return write(ctx, store, body, base)
}

// Digest tells one state from another.
func (s State) Digest() (string, error) {
	body, err := s.Render()
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:]), err
}

func write(ctx context.Context, store oidc.Store, body []byte, base oidc.Version) error {
	_, err := store.Write(ctx, oidc.Object{Path: Path, Body: body, ContentType: "application/json", CacheControl: "no-store"}, base)
	if err == nil {
		return nil
	}
	if object, _, readErr := store.Read(ctx, Path); readErr == nil && string(object.Body) == string(body) {
		return nil
	}
	return fmt.Errorf("writing the state: %w", err)
}
