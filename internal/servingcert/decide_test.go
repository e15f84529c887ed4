package servingcert_test

import (
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/servingcert"
)

const (
	nothing = ""
	begin   = "made a certificate"
	restore = "restored the certificate and made the next one"
	stage   = "made the next certificate"
	promote = "took the next certificate"
	tidy    = "removed what had expired or was damaged"
)

func TestDecide(t *testing.T) {
	const hour = time.Hour
	ends := func(after time.Duration, names ...string) *servingcert.Generation {
		if names == nil {
			names = []string{"a.ns.svc"}
		}
		return &servingcert.Generation{Ends: after, Names: names}
	}
	type situation = servingcert.Situation
	for _, test := range []struct {
		name string
		s    situation
		want string
	}{
		{"nothing at all", situation{}, begin},
		{"a new certificate", situation{Current: ends(9 * hour)}, nothing},
		{"just before two thirds of its life", situation{Current: ends(3*hour + 1)}, nothing},
		{"two thirds of its life", situation{Current: ends(3 * hour)}, stage},
		{"a certificate for longer than is wanted now", situation{Current: ends(900 * hour)}, nothing},
		{"the next one is not trusted yet", situation{Current: ends(hour), Next: ends(9 * hour)}, nothing},
		{"the next one is trusted", situation{Current: ends(hour), Next: ends(9 * hour), Settled: true}, promote},
		{"the next one is trusted, though the current one is new", situation{Current: ends(9 * hour), Next: ends(9 * hour), Settled: true}, promote},
		{"the next one has expired", situation{Current: ends(9 * hour), Next: ends(0), Settled: true}, stage},
		{"expired", situation{Current: ends(0)}, begin},
		{"expired, and held", situation{Current: ends(0), Held: ends(0)}, begin},
		{"expired, with a next one that nobody trusts yet", situation{Current: ends(0), Next: ends(hour)}, promote},
		{"both expired", situation{Current: ends(-hour), Next: ends(-1)}, begin},
		{"expired here, and this process holds a better one", situation{Current: ends(0), Held: ends(hour)}, begin},
		{"emptied, and held", situation{Held: ends(9 * hour)}, restore},
		{"emptied, and what is held has expired", situation{Held: ends(0)}, begin},
		{"emptied, and what is held lacks a name", situation{Held: ends(hour, "b")}, begin},
		{"damaged, and held", situation{Held: ends(9 * hour), Next: ends(9 * hour), Damaged: true}, restore},
		{"damaged, with a next one, not held", situation{Next: ends(9 * hour), Damaged: true}, promote},
		{"damaged beside the certificate", situation{Current: ends(9 * hour), Damaged: true}, tidy},
		{"damaged, and due", situation{Current: ends(hour), Damaged: true}, stage},
		{"a name is missing", situation{Current: ends(9*hour, "b")}, begin},
		{"a name is missing that the next one has", situation{Current: ends(9*hour, "b"), Next: ends(hour)}, promote},
		{"a name is missing in both", situation{Current: ends(9*hour, "b"), Next: ends(hour, "b")}, begin},
		{"more names than are needed", situation{Current: ends(9*hour, "b", "a.ns.svc")}, nothing},
		{"the next one lacks a name and waits", situation{Current: ends(hour), Next: ends(9*hour, "b")}, nothing},
		{"the next one lacks a name and is trusted", situation{Current: ends(hour), Next: ends(9*hour, "b"), Settled: true}, promote},
		{"the old CA has not expired", situation{Current: ends(9 * hour), Previous: 1}, nothing},
		{"the old CA has expired", situation{Current: ends(9 * hour), Previous: -1}, tidy},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := servingcert.Decide(test.s, 9*hour, "a.ns.svc"); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
