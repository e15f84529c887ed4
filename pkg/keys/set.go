package keys

import (
	"bytes"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
)

// Set is a set of valid keys with distinct IDs, in the order of their IDs, so
// that equal sets render to equal bytes wherever they were gathered. The zero
// value is the empty set. A Set never changes; it is safe for concurrent use.
type Set struct {
	keys []Key
}

// NewSet returns the set of the given keys. Equal keys merge. Two keys with
// one ID and different material, and a key that may not be published, are
// refused with an *[Error].
func NewSet(list ...Key) (Set, error) {
	set, fault := newSet(list)
	if fault != nil {
		return Set{}, fault
	}
	return set, nil
}

func newSet(list []Key) (Set, *Error) {
	byID := make(map[string]Key, len(list))
	for _, key := range list {
		if fault := key.check(); fault != nil {
			return Set{}, fault
		}
		if known, ok := byID[key.ID]; ok && !known.sameMaterial(key) {
			clash := refuse(RuleKeyIDClash, "a relying party could not tell them apart")
			clash.KeyID = key.ID
			return Set{}, clash
		}
		byID[key.ID] = key
	}
	return sorted(slices.Collect(maps.Values(byID))), nil
}

// sorted returns the set of valid keys with distinct IDs; it sorts the list.
func sorted(list []Key) Set {
	slices.SortFunc(list, func(a, b Key) int { return strings.Compare(a.ID, b.ID) })
	return Set{keys: list}
}

// Union returns the set of all keys in the given sets. It is refused like
// [NewSet] when two sets use one ID for different keys.
func Union(sets ...Set) (Set, error) {
	var all []Key
	for _, set := range sets {
		all = append(all, set.keys...)
	}
	return NewSet(all...)
}

// Len returns the number of keys.
func (s Set) Len() int { return len(s.keys) }

// All yields the keys in the order of their IDs.
func (s Set) All() iter.Seq[Key] { return slices.Values(s.keys) }

// IDs returns the key IDs, sorted.
func (s Set) IDs() []string {
	ids := make([]string, len(s.keys))
	for i, key := range s.keys {
		ids[i] = key.ID
	}
	return ids
}

// Key returns the key with the given ID.
func (s Set) Key(id string) (Key, bool) {
	i, found := slices.BinarySearchFunc(s.keys, id, func(key Key, id string) int { return strings.Compare(key.ID, id) })
	if !found {
		return Key{}, false
	}
	return s.keys[i], true
}

// Without returns the keys of s whose IDs are not in other.
func (s Set) Without(other Set) Set {
	left := slices.DeleteFunc(slices.Clone(s.keys), func(key Key) bool { _, found := other.Key(key.ID); return found })
	return Set{keys: left}
}

// Algorithms returns the distinct algorithms of the keys, sorted.
func (s Set) Algorithms() []string {
	algorithms := make([]string, len(s.keys))
	for i, key := range s.keys {
		algorithms[i] = key.Algorithm
	}
	slices.Sort(algorithms)
	return slices.Compact(algorithms)
}

// Equal reports whether both sets hold the same keys.
func (s Set) Equal(other Set) bool {
	return slices.EqualFunc(s.keys, other.keys, func(a, b Key) bool { return a.ID == b.ID && a.sameMaterial(b) })
}

// JWKS renders the set as a JWK set (RFC 7517 section 5) in which each key has
// "use", "kty", "kid", "alg" and its public members, nothing else: Google's
// workload identity accepts no other members in an uploaded set. The empty set
// is refused with [RuleNoKeys]; no relying party could use it.
func (s Set) JWKS() ([]byte, error) {
	if len(s.keys) == 0 {
		return nil, refuse(RuleNoKeys, "the set is empty")
	}
	document := jose.JSONWebKeySet{Keys: make([]jose.JSONWebKey, len(s.keys))}
	for i, key := range s.keys {
		document.Keys[i] = key.jwk()
	}
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(document); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
