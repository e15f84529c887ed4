package oidc

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// publishedKey is one entry of the JWK set that was fetched.
type publishedKey struct {
	number  int    // from 1
	id      string // as the entry has it, empty if it has none
	members map[string]json.RawMessage
	key     keys.Key    // valid if fault is nil
	fault   *keys.Error // why relying parties cannot use it
}

// subject names the entry in a report.
func (k publishedKey) subject() string {
	if k.id == "" {
		return fmt.Sprintf("entry %d", k.number)
	}
	return k.id
}

// maxEntries bounds what is looked at: more than any relying party reads, AWS
// included with 100 RSA and 100 EC keys.
const maxEntries = 250

// splitKeys takes a JWK set apart and judges each entry on its own, leniently
// towards the set, so that one bad entry does not hide the others.
func splitKeys(body []byte) ([]publishedKey, error) {
	var document struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return nil, err
	}
	entries := make([]publishedKey, len(document.Keys))
	for i, entry := range document.Keys {
		entries[i] = splitKey(i+1, entry)
	}
	return entries, nil
}

func splitKey(number int, entry json.RawMessage) publishedKey {
	k := publishedKey{number: number}
	if number > maxEntries {
		k.fault = &keys.Error{Rule: keys.RuleTooManyKeys, Detail: "not looked at"}
	} else {
		k.key, k.fault = keys.ParseJWK(entry)
	}
	if json.Unmarshal(entry, &k.members) != nil {
		return k
	}
	if json.Unmarshal(k.members["kid"], &k.id) != nil {
		k.id = ""
	}
	if k.fault != nil && k.fault.Rule == keys.RuleMalformedKey {
		// A private member must not hide behind a duplicate one, or bytes that are not UTF-8.
		merged, err := json.Marshal(k.members)
		if _, fault := keys.ParseJWK(bytes.ToValidUTF8(merged, nil)); err == nil && fault != nil && fault.Rule == keys.RulePrivateKey {
			k.fault = fault
		}
	}
	return k
}

func usableKeys(entries []publishedKey) []keys.Key {
	var usable []keys.Key
	for _, entry := range entries {
		if entry.fault == nil {
			usable = append(usable, entry.key)
		}
	}
	return usable
}

func (v *view) judgeKeys(s *sequence) {
	s.check("no private members", v.noPrivateMembers)
	for _, entry := range v.entries[:min(len(v.entries), maxEntries)] {
		s.checkEach("key", entry.subject(), entry.quality)
	}
	s.check("key count", v.keyCount)
	if len(usableKeys(v.entries)) == 0 {
		s.block("key count")
	}
	s.check("key IDs", v.keyIDs)
	s.check("algorithms", v.algorithms)
}

func (v *view) strictJWKS() verdict {
	const cure = "upload what issuer-sync publish renders, unchanged"
	_, _, err := keys.ParseJWKS("", v.jwks.body)
	switch {
	case errors.Is(err, keys.RuleNotJWKS) || errors.Is(err, keys.RuleTooLarge):
		return failed(cure, "%v", err)
	case v.entriesFault != nil: // never less strict than the parser that takes the set apart
		return failed(cure, "%v", v.entriesFault)
	default:
		return passed("one object without duplicate members")
	}
}

func (v *view) noPrivateMembers() verdict {
	var private []string
	for _, entry := range v.entries {
		if entry.fault != nil && entry.fault.Rule == keys.RulePrivateKey {
			private = append(private, entry.subject())
		}
	}
	if len(private) > 0 {
		return failed("ROTATE NOW: give the cluster a new signing key in place of this one, and run issuer-sync publish, which replaces a set that holds private members; whoever read it can sign tokens",
			"PRIVATE KEY PUBLISHED: %s", several(private))
	}
	return passed("public keys only")
}

func (v *view) keyCount() verdict {
	count, usable := len(v.entries), len(usableKeys(v.entries))
	switch {
	case usable == 0:
		return failed("publish the cluster's signing keys with issuer-sync publish", "%d keys, none of them usable", count)
	case count > keys.MaxKeys:
		return failed("take out the keys whose tokens have all expired", "%d keys; relying parties read at most %d", count, keys.MaxKeys)
	default:
		return passed("%d of %d usable", usable, count)
	}
}

func (v *view) keyIDs() verdict {
	usable := usableKeys(v.entries)
	set, err := keys.NewSet(usable...)
	if clash, ok := errors.AsType[*keys.Error](err); ok {
		return failed("give each key an ID of its own; Kubernetes derives it from the key", "two different keys are called %q", clash.KeyID)
	}
	if without := v.withoutID(); len(without) > 0 {
		return warned("publish each key with the kid that the cluster puts into its tokens", "no kid in %s: no token can choose them", several(without))
	}
	if set.Len() < len(usable) {
		return warned("publish each key once", "%d keys, but only %d different ones", len(usable), set.Len())
	}
	return passed("all different")
}

func (v *view) withoutID() []string {
	var without []string
	for _, entry := range v.entries {
		if entry.id == "" {
			without = append(without, entry.subject())
		}
	}
	return without
}

// algorithms compares what the discovery document promises with the keys:
// relying parties such as go-oidc refuse tokens whose algorithm is not listed.
func (v *view) algorithms() verdict {
	const cure = "publish both documents together, with issuer-sync publish: the list follows from the keys"
	listed, have := v.metadata.algorithms, algorithmsOf(usableKeys(v.entries))
	missing := slices.DeleteFunc(slices.Clone(have), func(a string) bool { return slices.Contains(listed, a) })
	surplus := slices.DeleteFunc(slices.Clone(listed), func(a string) bool { return slices.Contains(have, a) })
	forbidden := slices.DeleteFunc(slices.Clone(listed), func(a string) bool { return a != "none" && !strings.HasPrefix(a, "HS") })
	switch {
	case len(forbidden) > 0:
		return failed(cure, "the discovery document lists %s, which anybody can sign with", several(forbidden))
	case len(missing) > 0:
		return failed(cure, "the discovery document does not list %s, of which there are keys", several(missing))
	case len(surplus) > 0:
		return warned(cure, "the discovery document lists %s, of which there is no key", several(surplus))
	default:
		return passed("%s, as listed in the discovery document", strings.Join(have, ", "))
	}
}

func algorithmsOf(list []keys.Key) []string {
	var algorithms []string
	for _, key := range list {
		algorithms = append(algorithms, key.Algorithm)
	}
	slices.Sort(algorithms)
	return slices.Compact(algorithms)
}

func (k publishedKey) quality() verdict {
	if k.fault == nil {
		return passed("%s, %s", k.key.Algorithm, size(k.key))
	}
	found := string(k.fault.Rule)
	if k.fault.Detail != "" {
		found += ": " + k.fault.Detail
	}
	switch k.fault.Rule {
	case keys.RuleKeyType, keys.RuleScheme:
		return warned("take it out; if the cluster signs with it, give the cluster an RSA key", "relying parties pass over it: %s", found)
	case keys.RuleKeyID:
		return warned("publish it with the kid that the cluster puts into its tokens", "no token can choose it: %s", found)
	case keys.RulePrivateKey:
		return failed("rotate now, as above", "%s", found)
	default:
		return failed("take it out, or publish it as the cluster serves it at /openid/v1/jwks", "%s", found)
	}
}

func size(key keys.Key) string {
	switch public := key.Public.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA of %d bits", public.N.BitLen())
	case *ecdsa.PublicKey:
		return "EC on " + public.Curve.Params().Name
	default:
		return fmt.Sprintf("%T", public)
	}
}
