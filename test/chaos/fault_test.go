package chaos_test

import (
	"bytes"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/oidc"
	"github.com/issuer-sync/issuer-sync/test/servers"
)

// recovery bounds the time from the end of a fault until what waited for it is
// public: two intervals, three times over for a machine that has other work.
const recovery = 3 * 2 * interval

// maxRecoveryWrites is the state, the JWK set, the discovery document, the
// state again once the set was read back, the set because the state moved, and
// one that an attempt before left to be done.
const maxRecoveryWrites = 6

// faultWrites bounds the writes that arrive while the store fails: attempts
// are an interval apart, less jitter of a half at most, and each stops at its
// first write that fails.
func faultWrites(lasted time.Duration) int { return 2*int(lasted/interval) + 4 }

// A store that fails in any of these ways stays as it was, is not stormed, and
// is right again soon after.
func TestStoreFails(t *testing.T) {
	keys := newPool(t)
	azurite, stopped := servers.StartAzurite(t), servers.StartAzurite(t)
	var running sync.WaitGroup // t.Parallel would run as many as there are processors, and these wait most of the time
	defer running.Wait()
	for _, f := range []fault{
		{mode: tooMany}, {mode: unavailable}, {mode: readOnly}, {mode: hang}, {mode: cut}, {mode: loseWrites, written: true},
	} {
		running.Go(func() {
			t.Run(string(f.mode), func(t *testing.T) {
				o := newOutage(t, azurite, keys)
				f.begin, f.end = func() { o.proxy.set(f.mode) }, func() { o.proxy.set(pass) }
				f.run(t, o)
			})
		})
	}
	running.Go(func() {
		t.Run(string(down), func(t *testing.T) {
			o := newOutage(t, stopped, keys)
			f := fault{mode: down, gone: true}
			f.begin = func() {
				o.proxy.set(down) // or Azurite would go on answering on open connections
				o.hangUp()
				stopped.Stop()
			}
			f.end = func() {
				stopped.Start(t)
				o.proxy.set(pass)
			}
			f.run(t, o)
		})
	})
}

// fault is one way in which a store fails.
type fault struct {
	mode       mode
	begin, end func()
	// written says that what is written arrives, gone that nobody can read
	// meanwhile.
	written, gone bool
}

// outage is a daemon whose store fails.
type outage struct {
	*stage
	proxy *proxy
	// hangUp closes the connections to Azurite that nobody uses: it would wait
	// for them.
	hangUp func()
}

func newOutage(t *testing.T, azurite *servers.Azurite, keys *pool) *outage {
	t.Helper()
	p, client := newProxy(t, azurite), manyConnections(azurite.Client())
	h := newBlobHome(t, azurite, p)
	return &outage{
		stage: newStage(t, h, keys, fromHTTP(client, h.issuer)),
		proxy: p,
		hangUp: func() {
			client.CloseIdleConnections()
			p.azurite.CloseIdleConnections()
		},
	}
}

func (f fault) run(t *testing.T, o *outage) {
	d := o.start(t)
	o.converge(t, d, patience)
	o.steady(t, d)
	before := o.documents(t)

	puts, gets, began := o.proxy.count(http.MethodPut), o.proxy.count(http.MethodGet), time.Now()
	f.begin()
	o.files.add(t, fewest)
	for lasts := scaled(3*time.Second, 2*time.Minute); time.Since(began) < lasts; {
		d.lives(t, interval/10, nil)
		switch {
		case f.gone:
		case f.written:
			o.readers.check(t.Context())
		default:
			if now := o.documents(t); now != before {
				t.Fatalf("the documents changed:\n%v\n%v", before, now)
			}
		}
	}
	f.end()
	lasted, ended := time.Since(began), time.Now()
	during := o.proxy.count(http.MethodPut) - puts
	gets = o.proxy.count(http.MethodGet) - gets

	o.converge(t, d, recovery)
	recovered := time.Since(ended)
	o.steady(t, d)
	after := o.proxy.count(http.MethodPut) - puts - during
	o.readers.check(t.Context())
	o.verdict(t)
	d.stop(t)
	t.Logf("failed for %.1f s with %d writes and %d reads, right again after %.1f s with %d writes", lasted.Seconds(), during, gets, recovered.Seconds(), after)
	if f.written && during == 0 {
		t.Error("no write arrived, so none could lose its answer")
	}
	if most := faultWrites(lasted); during > most {
		t.Errorf("%d writes arrived while the store failed; want %d at most", during, most)
	}
	if after > maxRecoveryWrites {
		t.Errorf("%d writes arrived once the store was well; want %d at most", after, maxRecoveryWrites)
	}
}

// documents returns both documents as they are public now.
func (o *outage) documents(t *testing.T) (bodies [2]string) {
	t.Helper()
	for i, path := range []string{oidc.DiscoveryPath, oidc.JWKSPath} {
		body, found, err := o.readers.read(t.Context(), path)
		if err != nil || !found || len(bytes.TrimSpace(body)) == 0 {
			t.Fatalf("%s: %d bytes, found %t, %v", path, len(body), found, err)
		}
		bodies[i] = string(body)
	}
	return bodies
}

// steady waits until the daemon has nothing more to write: two rounds of it
// without a write.
func (o *outage) steady(t *testing.T, d *daemon) {
	t.Helper()
	for range 5 {
		puts := o.proxy.count(http.MethodPut)
		for range 2 {
			o.round(t, d)
		}
		if o.proxy.count(http.MethodPut) == puts {
			return
		}
	}
	t.Error("the daemon goes on writing although nothing changes")
}

// round waits until the daemon looks at the store the next time, which it does
// in every round.
func (o *outage) round(t *testing.T, d *daemon) {
	t.Helper()
	d.lives(t, interval/2, nil) // a round may read more than once
	select {
	case <-o.proxy.gets:
	default:
	}
	if !d.lives(t, patience, o.proxy.gets) {
		t.Fatalf("the daemon did not look at the store for %s", patience)
	}
}
