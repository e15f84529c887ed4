package state

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// format is the version of the JSON below. It grows when an older program
// would misread it; a member that may be ignored does not need that.
const format = 1

// document is the state as JSON.
type document struct {
	Version   int       `json:"version"`
	Issuer    string    `json:"issuer"`
	Keys      []record  `json:"keys"`
	Stores    []string  `json:"stores,omitempty"`
	Matched   []string  `json:"matched,omitempty"`
	Settled   bool      `json:"settled,omitempty"`
	Changed   time.Time `json:"changed,omitzero"`
	Removed   []string  `json:"removed,omitempty"`
	MovedFrom string    `json:"movedFrom,omitempty"`
	// Moved says that another store continues the state; the rest is void.
	Moved bool `json:"moved,omitempty"`
}

// record is a key as JSON. Times are UTC.
type record struct {
	JWK       json.RawMessage `json:"jwk"`
	Seen      time.Time       `json:"seen"`
	Published time.Time       `json:"published,omitzero"`
	Exempt    bool            `json:"exempt,omitempty"`
	Signs     time.Time       `json:"signs,omitzero"`
	Origins   []string        `json:"origins,omitempty"`
	Absent    time.Time       `json:"absentSince,omitzero"`
	Guarded   bool            `json:"guarded,omitempty"`
	Revoked   time.Time       `json:"revoked,omitzero"`
}

// Parse reads a state. The error is [ErrDamaged], [ErrNewer] or [ErrMoved].
func Parse(data []byte) (State, error) {
	var versioned struct {
		Version int `json:"version"`
	}
	if err := keys.UnmarshalStrict(data, &versioned); err != nil {
		return State{}, damaged(err)
	}
	if versioned.Version > format {
		return State{}, fmt.Errorf("format %d, and this program knows %d: %w", versioned.Version, format, ErrNewer)
	}
	if versioned.Version < 1 {
		return State{}, damaged(fmt.Errorf("version %d; want 1 or more", versioned.Version))
	}
	var parsed document
	var raw struct {
		Keys []members `json:"keys"`
	}
	state := State{unknownKey: make(map[string]members)}
	for _, into := range []any{&parsed, &raw, &state.unknown} {
		if err := keys.UnmarshalStrict(data, into); err != nil {
			return State{}, damaged(err)
		}
	}
	if parsed.Moved {
		return State{}, ErrMoved
	}
	drop(state.unknown, "version", "issuer", "keys", "stores", "matched", "settled", "changed", "removed", "movedFrom", "moved")
	state.Issuer, state.Stores, state.Matched = parsed.Issuer, parsed.Stores, parsed.Matched
	state.Settled, state.Changed, state.Removed, state.MovedFrom = parsed.Settled, parsed.Changed, parsed.Removed, parsed.MovedFrom
	for i, r := range parsed.Keys {
		key, fault := keys.ParseJWK(r.JWK)
		if fault != nil {
			return State{}, damaged(fmt.Errorf("key %d: %w", i+1, fault))
		}
		if _, twice := state.unknownKey[key.ID]; twice {
			return State{}, damaged(fmt.Errorf("key %q is in it twice", key.ID))
		}
		state.Records = append(state.Records, keys.Record{
			Key: key, Seen: r.Seen, Published: r.Published, Exempt: r.Exempt, Signs: r.Signs,
			Origins: r.Origins, Absent: r.Absent, Guarded: r.Guarded, Revoked: r.Revoked,
		})
		drop(raw.Keys[i], "jwk", "seen", "published", "exempt", "signs", "origins", "absentSince", "guarded", "revoked")
		state.unknownKey[key.ID] = raw.Keys[i]
	}
	slices.SortFunc(state.Records, func(a, b keys.Record) int { return strings.Compare(a.Key.ID, b.Key.ID) })
	return state, nil
}

func damaged(err error) error { return fmt.Errorf("%w: %w", ErrDamaged, err) }

func drop(m members, names ...string) {
	for _, name := range names {
		delete(m, name)
	}
}

// Render returns the state as JSON: equal states have equal bytes.
func (s State) Render() ([]byte, error) {
	rendered := document{
		Version: format, Issuer: s.Issuer, Stores: s.Stores, Matched: s.Matched,
		Settled: s.Settled, Changed: utc(s.Changed), Removed: s.Removed, MovedFrom: s.MovedFrom,
	}
	var list []members
	for _, r := range s.Records {
		jwk, err := r.Key.JWK()
		if err != nil {
			return nil, err
		}
		merged, err := merge(record{
			JWK: jwk, Seen: r.Seen.UTC(), Published: utc(r.Published), Exempt: r.Exempt, Signs: utc(r.Signs),
			Origins: r.Origins, Absent: utc(r.Absent), Guarded: r.Guarded, Revoked: utc(r.Revoked),
		}, s.unknownKey[r.Key.ID])
		if err != nil {
			return nil, err
		}
		list = append(list, merged)
	}
	whole, err := merge(rendered, s.unknown)
	if err != nil {
		return nil, err
	}
	if whole["keys"], err = json.Marshal(list); err != nil {
		return nil, err
	}
	// Indented: people read it in the worst of hours.
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err = encoder.Encode(whole)
	return b.Bytes(), err
}

func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Round(0)
}

// merge returns the members of a struct with others beside them.
func merge(known any, unknown members) (members, error) {
	data, err := json.Marshal(known)
	if err != nil {
		return nil, err
	}
	var all members
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, err
	}
	for name, value := range maps.All(unknown) {
		if _, taken := all[name]; !taken {
			all[name] = value
		}
	}
	return all, nil
}
