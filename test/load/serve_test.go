package load_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/test/load"
	"github.com/issuer-sync/issuer-sync/test/program"
)

func TestMain(m *testing.M) { program.Main(m) }

// BenchmarkServe measures the issuer-sync binary against a bare net/http
// server that gives the same answer, both over HTTPS with 64 keep-alive
// connections, in turns. It reports the ratios, the resident set after the
// load, the time from exec to the first answer with last-good documents while
// the source is gone, and the size of the binary.
func BenchmarkServe(b *testing.B) {
	dir := b.TempDir()
	issuerSync := program.Build(b, "cmd/issuer-sync")
	bare := program.Build(b, "test/load/bare")
	trust := prepare(b, dir, issuerSync)

	started := time.Now()
	ours, process := start(b, dir, `msg=serving server=documents address=(\S+)`, issuerSync, "run", "--config", "config.yaml", "--serve-address", "127.0.0.1:0")
	const path = "/openid/v1/jwks"
	target := load.Target{Address: ours, Path: path, TLS: trust}
	waitServing(b, target)
	ready := time.Since(started)
	yardstick, bareProcess := start(b, dir, `address=(\S+)`, bare, filepath.Join(dir, "www", path), "tls.crt", "tls.key")

	bareTarget := load.Target{Address: yardstick, Path: path, TLS: trust}
	var bareBest, best turn
	for b.Loop() {
		for range 21 {
			bareBest = bareBest.better(measure(b, bareTarget, bareProcess))
			best = best.better(measure(b, target, process))
		}
	}
	b.ReportMetric(best.rate/bareBest.rate, "rate/bare")
	b.ReportMetric(best.p99/bareBest.p99, "p99/bare")
	b.ReportMetric(best.cost/bareBest.cost, "CPU/bare")
	b.ReportMetric(residentMiB(b, process), "RSS-MiB")
	b.ReportMetric(float64(ready.Milliseconds()), "ready-ms")
	info, err := os.Stat(issuerSync)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size())/1e6, "binary-MB")
	b.ReportMetric(0, "ns/op") // means nothing here
}

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

// measure loads the target, whose process is given.
func measure(b *testing.B, target load.Target, process *os.Process) turn {
	b.Helper()
	before := cpuTicks(b, process)
	result, err := load.Load(b.Context(), target, 64, 400*time.Millisecond)
	if err != nil {
		b.Fatal(err)
	}
	return turn{result.PerSecond, result.P99.Seconds(), (cpuTicks(b, process) - before) / float64(result.Answers)}
}

// cpuTicks returns the user and system time of a process, proc_pid_stat(5).
func cpuTicks(b *testing.B, process *os.Process) float64 {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	sum := 0.0
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil {
			b.Fatal(err)
		}
		sum += ticks
	}
	return sum
}

// prepare publishes one key into a directory and takes its source away again.
func prepare(b *testing.B, dir, issuerSync string) *tls.Config {
	b.Helper()
	cert, key, roots := certificate(b)
	for name, content := range map[string][]byte{
		"tls.crt": cert, "tls.key": key,
		"sa.pub": keytest.PublicPEM(b, keytest.RSA(b, 1).Public()),
		"config.yaml": []byte(`issuers:
  - url: https://127.0.0.1
    sources: [{files: {paths: [sa.pub]}}]
    stores: [{directory: {path: www}}]
    verify: {disabled: true}
serve: {tls: {certFile: tls.crt, keyFile: tls.key}, linger: 0s}
admin: {address: ""}
`),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	publish := exec.CommandContext(b.Context(), issuerSync, "publish", "--config", "config.yaml")
	publish.Dir = dir
	if out, err := publish.CombinedOutput(); err != nil {
		b.Fatalf("publishing: %v\n%s", err, out)
	}
	if err := os.Remove(filepath.Join(dir, "sa.pub")); err != nil {
		b.Fatal(err)
	}
	return &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}
}

func certificate(b *testing.B) (cert, key []byte, roots *x509.CertPool) {
	b.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		b.Fatal(err)
	}
	roots = x509.NewCertPool()
	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	roots.AppendCertsFromPEM(cert)
	return cert, keytest.PrivatePEM(b, private), roots
}

// start runs a program and returns what the pattern finds on its stderr.
func start(b *testing.B, dir, pattern, program string, args ...string) (string, *os.Process) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), program, args...)
	cmd.Dir = dir
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	stderr, err := cmd.StderrPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	found := regexp.MustCompile(pattern)
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if match := found.FindStringSubmatch(lines.Text()); match != nil {
			go io.Copy(io.Discard, stderr) //nolint:errcheck // ends with the process
			b.Cleanup(func() {
				cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // Wait tells
				cmd.Wait()                          //nolint:errcheck // stopped by us
			})
			return match[1], cmd.Process
		}
	}
	b.Fatalf("%s %v ended before it printed %q", program, args, pattern)
	return "", nil
}

func waitServing(b *testing.B, target load.Target) {
	b.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		_, err := load.Load(b.Context(), target, 1, 0)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			b.Fatal(err)
		}
	}
}

func residentMiB(b *testing.B, process *os.Process) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmRSS:" {
			kiB, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				b.Fatal(err)
			}
			return kiB / 1024
		}
	}
	b.Fatal("no VmRSS")
	return 0
}
