package publisher_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/publisher"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

func TestMaxAgeReachesStoreAndServer(t *testing.T) {
	var served oidc.Documents
	b := newBench(t, func(c *publisher.Config) {
		c.MaxAge = 90 * time.Second
		c.Serve = func(d oidc.Documents) { served = d }
	})
	b.source.set(shows(t, "A", 1))
	b.Round(t.Context())
	stored, _, err := b.store.Read(t.Context(), oidc.DiscoveryPath)
	if err != nil {
		t.Fatal(err)
	}
	const want = "public, max-age=90"
	if stored.CacheControl != want || served.JWKS.CacheControl != want {
		t.Errorf("Cache-Control in the store %q, served %q; want %q", stored.CacheControl, served.JWKS.CacheControl, want)
	}
}

// Each kind of problem is told when it begins and when it ends.
func TestProblemsAreToldOnce(t *testing.T) {
	const skippedKey = `{"keys":[{"kty":"OKP","kid":"ed"}]}`
	for name, test := range map[string]struct {
		begin func(t *testing.T, b *bench)
		end   func(t *testing.T, b *bench)
		want  []string
	}{
		"a key is left out": {
			begin: func(t *testing.T, b *bench) {
				answer := shows(t, "A", 1)
				answer.Skipped = []*keys.Error{{Input: "A", Block: 2, Rule: keys.RuleKeyType, Detail: "Ed25519"}}
				b.source.set(answer)
			},
			end:  func(t *testing.T, b *bench) { b.source.set(shows(t, "A", 1)) },
			want: []string{`level=WARN msg=problem subject="keys left out of A" err="A: block 2: key type not supported: Ed25519"`, `level=INFO msg="problem is over" subject="keys left out of A"`},
		},
		"a foreign key": {
			begin: func(t *testing.T, b *bench) { b.edit(t, jwks(t, 1, 2)) },
			end:   func(*testing.T, *bench) {},
			want:  []string{`level=WARN msg=problem subject="alarm foreign-edit of store one" err="store one did not hold what was published: unknown keys`, `level=INFO msg="problem is over" subject="alarm foreign-edit of store one"`},
		},
		"an edit": {
			begin: func(t *testing.T, b *bench) { b.edit(t, []byte(skippedKey)) },
			end:   func(*testing.T, *bench) {},
			want:  []string{`level=WARN msg=problem subject="alarm foreign-edit of store one" err="store one did not hold what was published: `, `level=INFO msg="problem is over" subject="alarm foreign-edit of store one"`},
		},
		"the outside fails": {
			begin: func(_ *testing.T, b *bench) { b.outside.Store(true) },
			end:   func(_ *testing.T, b *bench) { b.outside.Store(false) },
			want:  []string{`level=WARN msg=problem subject="outside view" err="discovery: reachable: no"`, `level=INFO msg="problem is over" subject="outside view"`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b *bench
				b = newBench(t, func(c *publisher.Config) {
					c.Outside = func(context.Context) oidc.Report {
						if b.outside.Load() {
							return oidc.Report{Checks: []oidc.Check{{Name: "discovery: reachable", Status: oidc.Fail, Detail: "no"}}}
						}
						return oidc.Report{}
					}
				})
				b.source.set(shows(t, "A", 1))
				ctx, stop := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- b.Run(ctx) }()
				time.Sleep(5 * time.Minute)
				test.begin(t, b)
				time.Sleep(5 * time.Minute)
				test.end(t, b)
				time.Sleep(5 * time.Minute)
				stop()
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				var got []string
				for line := range strings.Lines(b.log.String()) {
					if strings.Contains(line, "problem") {
						got = append(got, strings.TrimSpace(line))
					}
				}
				if len(got) != len(test.want) {
					t.Fatalf("log:\n%s", strings.Join(got, "\n"))
				}
				for i, want := range test.want {
					if !strings.HasPrefix(got[i], want) {
						t.Errorf("line %d: %s; want %s", i+1, got[i], want)
					}
				}
			})
		})
	}
}
