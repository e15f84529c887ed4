package chaos_test

import (
	"crypto"
	"crypto/elliptic"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// keySet is a set of a pool's keys: bit n is key n.
type keySet uint64

func (s keySet) has(n int) bool { return s>>n&1 == 1 }
func (s keySet) len() int       { return bits.OnesCount64(uint64(s)) }

// with returns the set with key n, or without it.
func (s keySet) with(n int, is bool) keySet {
	if is {
		return s | 1<<n
	}
	return s &^ (1 << n)
}

// pool is all keys that a test ever shows. There are few, so that the same
// ones come back again and again, and their algorithms differ, so that the
// discovery document changes too. It is immutable.
type pool struct {
	keys []keys.Key
	pem  [][]byte
	byID map[string]int
}

func newPool(t *testing.T) *pool {
	t.Helper()
	p := &pool{byID: make(map[string]int)}
	for n := range 10 {
		p.add(t, keytest.RSA(t, n).Public())
	}
	for _, curve := range []elliptic.Curve{
		elliptic.P256(), elliptic.P256(), elliptic.P256(), elliptic.P256(), elliptic.P256(), elliptic.P256(),
		elliptic.P384(), elliptic.P384(), elliptic.P521(), elliptic.P521(),
	} {
		p.add(t, keytest.EC(t, curve).Public())
	}
	return p
}

func (p *pool) add(t *testing.T, public crypto.PublicKey) {
	t.Helper()
	key, err := keys.New(public)
	if err != nil {
		t.Fatal(err)
	}
	p.byID[key.ID] = len(p.keys)
	p.keys, p.pem = append(p.keys, key), append(p.pem, keytest.PublicPEM(t, public))
}

// set returns the keys as pkg/keys has them.
func (p *pool) set(s keySet) (keys.Set, error) {
	var list []keys.Key
	for n, key := range p.keys {
		if s.has(n) {
			list = append(list, key)
		}
	}
	return keys.NewSet(list...)
}

// keyFiles is the directory that the daemon reads its keys from, one key to a
// file. Every change is one rename or removal, and is noted in the ledger.
type keyFiles struct {
	dir    string
	pool   *pool
	ledger *ledger
	names  map[int]string // of the files, by the key they hold
	made   int
}

// add puts key n in a file of its own.
func (k *keyFiles) add(t *testing.T, n int) {
	t.Helper()
	k.made++
	k.put(t, n, fmt.Sprintf("%s/%06d.pub", k.dir, k.made))
}

// remove takes away the file of key n.
func (k *keyFiles) remove(t *testing.T, n int) {
	t.Helper()
	k.ledger.removing(n)
	if err := os.Remove(k.names[n]); err != nil {
		t.Fatal(err)
	}
	delete(k.names, n)
}

// replace gives the file of key old another key, as when sa.pub is replaced.
func (k *keyFiles) replace(t *testing.T, old, n int) {
	t.Helper()
	k.ledger.removing(old)
	k.put(t, n, k.names[old])
	delete(k.names, old)
}

func (k *keyFiles) put(t *testing.T, n int, name string) {
	t.Helper()
	next := k.dir + "/.next"
	if err := os.WriteFile(next, k.pool.pem[n], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, name); err != nil {
		t.Fatal(err)
	}
	k.names[n] = name
	k.ledger.added(n)
}

// Between these numbers of key files, change does what comes.
const fewest, most = 3, 10

// change adds a key, takes one away or replaces one, at random, as far as it
// can. There is never no key at all.
func (k *keyFiles) change(t *testing.T) {
	t.Helper()
	present, absent := k.ledger.choices()
	dice := rand.N(3)
	switch {
	case len(absent) == 0 || len(present) >= most || dice == 0:
		if len(present) > fewest {
			k.remove(t, pick(present))
		}
	case dice == 1:
		k.replace(t, pick(present), pick(absent))
	default:
		k.add(t, pick(absent))
	}
}

func pick(list []int) int { return list[rand.N(len(list))] }
