package keys_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

func TestJWKSIsThatOfKubernetes(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "kubernetes.pub"))
	if err != nil {
		t.Fatal(err)
	}
	set, _, err := keys.ParsePEM("kubernetes.pub", data)
	if err != nil {
		t.Fatal(err)
	}
	got, err := set.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	// What kube-apiserver 1.36.3 serves at /openid/v1/jwks with this key alone.
	want, err := os.ReadFile(filepath.Join("testdata", "kubernetes.jwks"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(bytes.TrimSpace(want)), string(got)); diff != "" {
		t.Errorf("JWKS (-want +got):\n%s", diff)
	}
}

func TestSetIsOrderedAndUnique(t *testing.T) {
	one, two := keytest.Key(t, 1), keytest.Key(t, 2)
	forward, err := keys.NewSet(one, two)
	if err != nil {
		t.Fatal(err)
	}
	backward, err := keys.NewSet(two, one, two)
	if err != nil {
		t.Fatal(err)
	}
	if !forward.Equal(backward) || !slices.Equal(forward.IDs(), backward.IDs()) || !slices.IsSorted(forward.IDs()) || forward.Len() != 2 {
		t.Errorf("%v and %v should be the same two keys in one order", forward.IDs(), backward.IDs())
	}
	if got, ok := forward.Key(two.ID); !ok || got.ID != two.ID {
		t.Errorf("Key(%q) = %v, %v", two.ID, got, ok)
	}
	if got := forward.Without(keytest.Set(t, 2)).IDs(); !slices.Equal(got, []string{one.ID}) {
		t.Errorf("without key 2: %v; want %v", got, []string{one.ID})
	}
}

func TestUnionRefusesAClash(t *testing.T) {
	impostor := keytest.Key(t, 2)
	impostor.ID = keytest.Key(t, 1).ID
	other, err := keys.NewSet(impostor)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Union(keytest.Set(t, 1), other); !errors.Is(err, keys.RuleKeyIDClash) {
		t.Errorf("error %v; want %q", err, keys.RuleKeyIDClash)
	}
}

func TestNewSetRefusesInvalidKeys(t *testing.T) {
	good := keytest.Key(t, 1)
	for name, test := range map[string]struct {
		key  keys.Key
		rule keys.Rule
	}{
		"no ID":           {keys.Key{Algorithm: good.Algorithm, Public: good.Public}, keys.RuleKeyID},
		"ID too long":     {keys.Key{ID: strings.Repeat("x", 1025), Algorithm: good.Algorithm, Public: good.Public}, keys.RuleKeyID},
		"no algorithm":    {keys.Key{ID: "x", Public: good.Public}, keys.RuleAlgorithm},
		"no material":     {keys.Key{ID: "x", Algorithm: good.Algorithm}, keys.RuleKeyType},
		"a private key":   {keys.Key{ID: "x", Algorithm: good.Algorithm, Public: keytest.RSA(t, 1)}, keys.RuleKeyType},
		"other algorithm": {keys.Key{ID: "x", Algorithm: "ES256", Public: good.Public}, keys.RuleAlgorithm},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := keys.NewSet(good, test.key); !errors.Is(err, test.rule) {
				t.Errorf("error %v; want %q", err, test.rule)
			}
		})
	}
}

func TestEmptySetIsNotRendered(t *testing.T) {
	if data, err := (keys.Set{}).JWKS(); !errors.Is(err, keys.RuleNoKeys) || data != nil {
		t.Errorf("JWKS() = %q, %v; want %q", data, err, keys.RuleNoKeys)
	}
}

func TestAlgorithmsAreSortedAndComplete(t *testing.T) {
	list := []keys.Key{keytest.Key(t, 1), keytest.Key(t, 2)}
	for _, curve := range []elliptic.Curve{elliptic.P521(), elliptic.P256(), elliptic.P384()} {
		key, err := keys.New(keytest.EC(t, curve).Public())
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, key)
	}
	set, err := keys.NewSet(list...)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"ES256", "ES384", "ES512", "RS256"}, set.Algorithms()); diff != "" {
		t.Errorf("algorithms (-want +got):\n%s", diff)
	}
}

// checkInvariants holds whatever the parsers return against what a relying
// party needs: only public members, and a set that reads back as itself.
func checkInvariants(t *testing.T, set keys.Set) {
	t.Helper()
	data, err := set.JWKS()
	if err != nil {
		t.Fatalf("a parser returned a set that does not render: %v", err)
	}
	var document struct{ Keys []map[string]json.RawMessage }
	if err := json.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	for _, members := range document.Keys {
		names := slices.Sorted(maps.Keys(members))
		if got := strings.Join(names, " "); got != "alg e kid kty n use" && got != "alg crv kid kty use x y" {
			t.Errorf("members of a published key: %s", got)
		}
	}
	again, skipped, err := keys.ParseJWKS("rendered", data)
	if err != nil || len(skipped) > 0 || !again.Equal(set) {
		t.Errorf("the rendered set reads back differently: %v, skipped %v, from %s", err, skipped, data)
	}
}

func FuzzParsePEM(f *testing.F) {
	f.Add(keytest.PublicPEM(f, keytest.RSA(f, 1).Public()))
	f.Add(keytest.PublicPEM(f, keytest.EC(f, elliptic.P384()).Public()))
	f.Add(append(keytest.PublicPEM(f, keytest.RSA(f, 1).Public()), keytest.PrivatePEM(f, keytest.RSA(f, 2))...))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, skipped, err := keys.ParsePEM("in", data)
		if err == nil {
			checkInvariants(t, set)
		} else if set.Len() > 0 || len(skipped) > 0 {
			t.Errorf("keys beside error %v", err)
		}
	})
}

func FuzzParseJWKS(f *testing.F) {
	for _, set := range []keys.Set{keytest.Set(f, 1), keytest.Set(f, 1, 2)} {
		data, err := set.JWKS()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	ec, err := keys.New(keytest.EC(f, elliptic.P256()).Public())
	if err != nil {
		f.Fatal(err)
	}
	set, err := keys.NewSet(ec)
	if err != nil {
		f.Fatal(err)
	}
	data, err := set.JWKS()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(bytes.Replace(data, []byte(`"use"`), []byte(`"d":"AQAB","use"`), 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, skipped, err := keys.ParseJWKS("in", data)
		if err == nil {
			checkInvariants(t, set)
		} else if set.Len() > 0 || len(skipped) > 0 {
			t.Errorf("keys beside error %v", err)
		}
	})
}

// What is refused can be told apart by its fingerprint, without being shown.
func TestRefusedInputHasAFingerprint(t *testing.T) {
	for _, input := range []string{"", "junk", `{"keys":[]}`} {
		want := fmt.Sprintf("%x", sha256.Sum256([]byte(input)))
		for name, parse := range map[string]func(string, []byte) (keys.Set, []*keys.Error, error){"PEM": keys.ParsePEM, "JWKS": keys.ParseJWKS} {
			_, _, err := parse("in", []byte(input))
			if fault, ok := errors.AsType[*keys.Error](err); !ok || fault.Fingerprint != want {
				t.Errorf("%s %q: %#v; want fingerprint %s", name, input, err, want)
			}
		}
	}
}

// No byte of a private key may come back, not even in an error that quotes its input.
func TestPrivateKeysLeaveNoTrace(t *testing.T) {
	private := keytest.RSA(t, 1)
	secret := members(t, private, nil)
	var m map[string]string
	if err := json.Unmarshal([]byte(secret), &m); err != nil {
		t.Fatal(err)
	}
	var canaries []string
	for _, member := range []string{"d", "p", "q", "dp", "dq", "qi"} {
		canaries = append(canaries, m[member][:16])
	}
	inputs := []string{
		`{"keys":[` + secret + `]}`,
		`{"keys":[` + strings.Replace(secret, `"kty":"RSA"`, `"kty":"oct"`, 1) + `]}`,
		`{"keys":[` + strings.Replace(secret, `"kid":"one"`, `"kid":1`, 1) + `]}`,
		`{"keys":[` + secret,
		`[` + secret + `]`,
	}
	for _, input := range inputs {
		set, skipped, err := keys.ParseJWKS("in", []byte(input))
		if err == nil {
			t.Errorf("input with private members was taken: %v", set.IDs())
		}
		out := fmt.Sprintf("%v %+v %#v %v", err, err, err, skipped)
		for _, canary := range canaries {
			if strings.Contains(out, canary) {
				t.Errorf("private member %q came out in %q", canary, out)
			}
		}
	}
}

func ExampleParsePEM() {
	data, _ := os.ReadFile(filepath.Join("testdata", "kubernetes.pub"))
	set, skipped, err := keys.ParsePEM("kubernetes.pub", data)
	fmt.Println(set.IDs(), len(skipped), err)
	// Output: [JHJehTTTZlsspKHT-GaJxK7Kd1NQgZJu3fyK6K_QDYU] 0 <nil>
}
