package load_test

import (
	"crypto/tls"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

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
	const path = "/openid/v1/jwks"
	dir := b.TempDir()
	issuerSync := program.Build(b, "cmd/issuer-sync")
	bareProgram := program.Build(b, "test/load/bare")
	trust := prepare(b, dir, issuerSync)

	ours := contestant{process: start(b, dir, issuerSync, "run", "--config", "config.yaml", "--serve-address", "127.0.0.1:0")}
	ours.target = load.Target{Address: ours.logged(b, `msg=serving server=documents address=(\S+)`), Path: path, TLS: trust}
	ready := ours.awaitServing(b)
	bare := contestant{process: start(b, dir, bareProgram, filepath.Join(dir, "www", path), "tls.crt", "tls.key")}
	bare.target = load.Target{Address: bare.logged(b, `address=(\S+)`), Path: path, TLS: trust}

	compare(b, ours, bare, 64)
	now, _ := ours.resident(b)
	b.ReportMetric(now/(1<<20), "RSS-MiB")
	b.ReportMetric(float64(ready.Milliseconds()), "ready-ms")
	reportSize(b, issuerSync)
}

// prepare publishes one key into a directory and takes its source away again.
func prepare(b *testing.B, dir, issuerSync string) *tls.Config {
	b.Helper()
	trust, _ := writeCertificate(b, dir)
	write(b, dir, "sa.pub", keytest.PublicPEM(b, keytest.RSA(b, 1).Public()))
	write(b, dir, "config.yaml", []byte(`issuers:
  - url: https://127.0.0.1
    sources: [{files: {paths: [sa.pub]}}]
    stores: [{directory: {path: www}}]
    verify: {disabled: true}
serve: {tls: {certFile: tls.crt, keyFile: tls.key}, linger: 0s}
admin: {address: ""}
`))
	publish := exec.CommandContext(b.Context(), issuerSync, "publish", "--config", "config.yaml")
	publish.Dir = dir
	if out, err := publish.CombinedOutput(); err != nil {
		b.Fatalf("publishing: %v\n%s", err, out)
	}
	if err := os.Remove(filepath.Join(dir, "sa.pub")); err != nil {
		b.Fatal(err)
	}
	return trust
}
