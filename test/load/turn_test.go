package load_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/test/load"
)

// turn is one measurement, or the best of several.
type turn struct {
	rate float64 // answers per second
	p99  float64 // seconds
	cost float64 // clock ticks of CPU time for an answer
}

// better takes the best of both in each respect: whatever else the machine does
// can only make a turn worse.
func (t turn) better(other turn) turn {
	if t.rate == 0 {
		return other
	}
	return turn{max(t.rate, other.rate), min(t.p99, other.p99), min(t.cost, other.cost)}
}

// contestant is a server in a comparison.
type contestant struct {
	*process
	target load.Target
}

// turn loads the server for a moment.
func (c contestant) turn(b *testing.B, connections int) turn {
	b.Helper()
	before := c.cpuTicks(b)
	result, err := load.Load(b.Context(), c.target, connections, 400*time.Millisecond)
	if err != nil {
		b.Fatal(err)
	}
	return turn{result.PerSecond, result.P99.Seconds(), (c.cpuTicks(b) - before) / float64(result.Answers)}
}

// compare reports what ours does in relation to the yardstick, in the best of
// 21 turns of each, taken alternately.
func compare(b *testing.B, ours, bare contestant, connections int) {
	b.Helper()
	var best, bareBest turn
	for b.Loop() {
		for range 21 {
			bareBest = bareBest.better(bare.turn(b, connections))
			best = best.better(ours.turn(b, connections))
		}
	}
	b.ReportMetric(best.rate/bareBest.rate, "rate/bare")
	b.ReportMetric(best.p99/bareBest.p99, "p99/bare")
	b.ReportMetric(best.cost/bareBest.cost, "CPU/bare")
	b.ReportMetric(0, "ns/op") // means nothing here
}

// awaitServing waits for a good answer, and returns how long after the start of
// the process that was.
func (c contestant) awaitServing(b *testing.B) time.Duration {
	b.Helper()
	return c.await(b, func() error {
		_, err := load.Load(b.Context(), c.target, 1, 0)
		return err
	})
}

// writeCertificate writes tls.crt and tls.key for 127.0.0.1 and names into a
// folder, and returns what a client needs and the certificate in PEM.
func writeCertificate(b *testing.B, dir string, names ...string) (*tls.Config, []byte) {
	b.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		b.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	write(b, dir, "tls.crt", certificate)
	write(b, dir, "tls.key", keytest.PrivatePEM(b, private))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	return &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}, certificate
}

func write(b *testing.B, dir, name string, content []byte) {
	b.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
		b.Fatal(err)
	}
}
