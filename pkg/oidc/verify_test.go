package oidc_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

const worldIssuer = "https://oidc.example.com/prod"

// authority is a CA made for one test.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, name string) authority {
	t.Helper()
	a := authority{key: keytest.EC(t, elliptic.P256())}
	a.certificate = parse(t, a.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, a.key.Public()))
	return a
}

// sign fills in what a template leaves open. Without a certificate of its own the authority signs itself.
func (a authority) sign(t testing.TB, template *x509.Certificate, public crypto.PublicKey) []byte {
	t.Helper()
	template.SerialNumber = big.NewInt(1)
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = worldTime().AddDate(-1, 0, 0), worldTime().AddDate(0, 0, 61).Add(-time.Hour)
	}
	parent := a.certificate
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func (a authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// server makes a server certificate for the hosts that the tests use.
func (a authority) server(t testing.TB, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key := keytest.EC(t, elliptic.P256())
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "server"},
		DNSNames:    []string{"*.example.com", "contoso.blob.core.windows.net", "contoso.z6.web.core.windows.net"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if change != nil {
		change(template)
	}
	return tls.Certificate{Certificate: [][]byte{a.sign(t, template, key.Public())}, PrivateKey: key}
}

func parse(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// rsaPublic returns a key that passes for one of RSA, told from others by its ID.
func rsaPublic(id string) keys.Key {
	modulus := new(big.Int).Lsh(big.NewInt(1), 2047)
	modulus.Add(modulus, new(big.Int).SetBytes([]byte(id+"1"))) // "1" is odd
	return keys.Key{ID: id, Algorithm: "RS256", Public: &rsa.PublicKey{N: modulus, E: 65537}}
}

func worldTime() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

// world is an issuer as strangers find it, healthy until a test changes it.
type world struct {
	t       testing.TB
	issuer  string
	options oidc.VerifyOptions
	// pages are what the server has, by host and path.
	pages            map[string]*page
	discovery, jwks  *page // two of them
	tls              *tls.Config
	public, private  authority // which clouds trust, and do not
	clock            time.Time // what Now says
	requests, dialed []string  // as the server saw them, and the dialer
}

type page struct {
	status int
	header http.Header
	body   string
	// takes moves the clock before the page is delivered.
	takes time.Duration
	// cut closes the connection in the middle of the body.
	cut bool
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, issuer: worldIssuer, clock: worldTime(), public: newAuthority(t, "Public CA"), private: newAuthority(t, "Private CA")}
	w.tls = &tls.Config{Certificates: []tls.Certificate{w.public.server(t, nil)}}
	w.options = oidc.VerifyOptions{
		PublicRoots: w.public.pool(),
		Now:         func() time.Time { return w.clock },
		Lookup: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("20.60.1.1")}, nil
		},
	}
	w.publish(rsaPublic("rsa-1"))
	return w
}

// publish replaces the pages by the documents of the given keys.
func (w *world) publish(list ...keys.Key) {
	t := w.t
	t.Helper()
	set, err := keys.NewSet(list...)
	if err != nil {
		t.Fatal(err)
	}
	documents := render(t, issuer(t, w.issuer), set)
	w.discovery, w.jwks = newPage(documents.Discovery), newPage(documents.JWKS)
	below := strings.TrimSuffix(strings.TrimPrefix(w.issuer, "https://"), "/") + "/"
	w.pages = map[string]*page{below + oidc.DiscoveryPath: w.discovery, below + oidc.JWKSPath: w.jwks}
}

func newPage(object oidc.Object) *page {
	return &page{status: http.StatusOK, body: string(object.Body), header: http.Header{
		"Content-Type":  {object.ContentType},
		"Cache-Control": {object.CacheControl},
		"Date":          {worldTime().Format(http.TimeFormat)},
	}}
}

// set puts a member into the discovery document; nil takes it out.
func (w *world) set(member string, value any) {
	t := w.t
	t.Helper()
	document := make(map[string]any)
	if err := json.Unmarshal([]byte(w.discovery.body), &document); err != nil {
		t.Fatal(err)
	}
	if document[member] = value; value == nil {
		delete(document, member)
	}
	body, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	w.discovery.body = string(body)
}

func (w *world) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	w.requests = append(w.requests, r.Host+r.URL.RequestURI())
	host, _, found := strings.Cut(r.Host, ":")
	if !found {
		host = r.Host
	}
	p := w.pages[host+r.URL.EscapedPath()]
	if p == nil {
		http.NotFound(out, r)
		return
	}
	w.clock = w.clock.Add(p.takes)
	maps.Copy(out.Header(), p.header)
	if p.cut {
		out.Header().Set("Content-Length", fmt.Sprint(len(p.body)+1))
	}
	out.WriteHeader(p.status)
	io.WriteString(out, p.body) //nolint:errcheck // the client stops reading at its limit
}

// verify runs Verify against the world and holds every report to what all must keep.
func (w *world) verify() oidc.Report {
	t := w.t
	t.Helper()
	server := httptest.NewUnstartedServer(w)
	server.TLS = w.tls
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	options := w.options
	if options.Dial == nil {
		options.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			w.dialed = append(w.dialed, address)
			return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
		}
	}
	report := oidc.Verify(t.Context(), issuer(t, w.issuer), options)
	hold(t, report)
	for _, check := range report.Checks {
		if strings.Contains(check.String(), "canary") {
			t.Errorf("a secret in %q", check)
		}
	}
	return report
}

// hold checks what every report must keep.
func hold(t testing.TB, report oidc.Report) {
	t.Helper()
	for _, check := range report.Checks {
		if (check.Status == oidc.Fail || check.Status == oidc.Warn) && check.Cure == "" {
			t.Errorf("no cure in %q", check)
		}
		if strings.ContainsFunc(check.String(), unicode.IsControl) {
			t.Errorf("control characters in %q", check)
		}
		if check.Name == "" || check.Detail == "" {
			t.Errorf("nothing said in %+v", check)
		}
	}
}

func lines(report oidc.Report) []string {
	var lines []string
	for _, check := range report.Checks {
		lines = append(lines, check.String())
	}
	return lines
}

// verifyCase is a way in which an issuer can be wrong.
type verifyCase struct {
	name   string
	change func(w *world)
	// want are the lines that the healthy issuer's report does not have,
	// without those of checks that were skipped because another one failed.
	want []string
	// blocks is the check that the skipped ones needed; empty: none was skipped.
	blocks string
}

// run compares the world that prepare makes (nil: the plain one) before and after the change.
func (c verifyCase) run(t *testing.T, prepare func(*world)) {
	t.Helper()
	healthy, changed := newWorld(t), newWorld(t)
	if prepare != nil {
		prepare(healthy)
		prepare(changed)
	}
	c.change(changed)
	known := lines(healthy.verify())
	var got []string
	blocks := make(map[string]bool)
	for _, line := range lines(changed.verify()) {
		if _, gate, found := strings.Cut(line, `: needs "`); found && strings.HasPrefix(line, "SKIP") {
			blocks[strings.TrimSuffix(gate, `" to pass`)] = true
		} else if !slices.Contains(known, line) {
			got = append(got, line)
		}
	}
	if diff := cmp.Diff(c.want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if got := strings.Join(slices.Sorted(maps.Keys(blocks)), ", "); got != c.blocks {
		t.Errorf("skipped for want of %q; want %q", got, c.blocks)
	}
}

func golden(t *testing.T, name string, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got), rewrite with -update:\n%s", path, diff)
	}
}

func everything(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.options.RelyingParties = []oidc.RelyingParty{oidc.Entra, oidc.AWS, oidc.GCP}
	key := keytest.RSA(t, 1)
	w.publish(keys.Key{ID: "rsa-1", Algorithm: "RS256", Public: key.Public()})
	w.options.Token = kubernetesToken(t, "RS256", "rsa-1", key, nil)
	return w
}

func TestVerifyHealthyIssuer(t *testing.T) {
	w := everything(t)
	report := w.verify()
	golden(t, "verify-healthy.txt", strings.Join(lines(report), "\n")+"\n")
	if report.Failed() {
		t.Error("Failed() is true")
	}
	if string(report.Discovery.Body) != w.discovery.body || string(report.JWKS.Body) != w.jwks.body {
		t.Error("the report does not hold the documents as they are served")
	}
	want := oidc.Object{Path: oidc.JWKSPath, Body: []byte(w.jwks.body), ContentType: "application/jwk-set+json", CacheControl: "public, max-age=300"}
	if diff := cmp.Diff(want, report.JWKS); diff != "" {
		t.Errorf("JWKS (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"rsa-1"}, report.Keys.IDs()); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	wantRequests := []string{"oidc.example.com/prod/.well-known/openid-configuration", "oidc.example.com/prod/openid/v1/jwks"}
	if diff := cmp.Diff(wantRequests, w.requests); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestVerifyReportAsJSON(t *testing.T) {
	w := newWorld(t)
	w.set("issuer", w.issuer+"/")
	report := w.verify()
	report.Checks = slices.DeleteFunc(report.Checks, func(c oidc.Check) bool {
		return !slices.Contains([]string{"discovery: issuer", "jwks: key"}, c.Name)
	})
	got, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "verify-report.json", string(got)+"\n")
	if !report.Failed() {
		t.Error("Failed() is false")
	}
}

func TestVerifySkipsWhatCannotBeJudged(t *testing.T) {
	w := everything(t)
	w.options.Dial = func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.DNSError{Name: "oidc.example.com", Err: "no such host", IsNotFound: true}
	}
	report := w.verify()
	golden(t, "verify-unreachable.txt", strings.Join(lines(report), "\n")+"\n")
	if report.Discovery.Path != "" || report.JWKS.Path != "" || report.Keys.Len() != 0 {
		t.Errorf("documents out of nowhere: %+v", report)
	}
}

func TestVerifyIsAnonymous(t *testing.T) {
	w := newWorld(t)
	w.options.BaseURL = "https://user:canary@other.example.com/mirror/"
	type asked struct {
		URL    string
		Header http.Header
	}
	var got []asked
	w.pages["other.example.com/mirror/.well-known/openid-configuration"] = w.discovery
	w.pages["other.example.com/mirror/openid/v1/jwks"] = w.jwks
	w.discovery.header.Set("Set-Cookie", "session=canary")
	handler := http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		got = append(got, asked{r.Host + r.URL.RequestURI(), r.Header})
		w.ServeHTTP(out, r)
	})
	server := httptest.NewUnstartedServer(handler)
	server.TLS = w.tls
	server.StartTLS()
	defer server.Close()
	w.options.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
	}
	report := oidc.Verify(t.Context(), issuer(t, w.issuer), w.options)
	if report.Failed() {
		t.Errorf("failed:\n%s", strings.Join(lines(report), "\n"))
	}
	want := []asked{
		{"other.example.com/mirror/.well-known/openid-configuration", http.Header{
			"Accept": {"application/json"}, "User-Agent": {"issuer-sync"}, "Connection": {"close"},
		}},
		{"other.example.com/mirror/openid/v1/jwks", http.Header{
			"Accept": {"application/jwk-set+json, application/json"}, "User-Agent": {"issuer-sync"}, "Connection": {"close"},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if strings.Contains(strings.Join(lines(report), "\n"), "canary") {
		t.Error("the report holds the password")
	}
}

func TestVerifyOfTheZeroIssuer(t *testing.T) {
	report := oidc.Verify(t.Context(), oidc.Issuer{}, oidc.VerifyOptions{})
	want := `FAIL  discovery: reachable: ":///.well-known/openid-configuration": unsupported protocol scheme "" -> make the server answer here; check host, port and firewall`
	if got := report.Checks[0].String(); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func TestParseRelyingParty(t *testing.T) {
	for _, party := range []oidc.RelyingParty{oidc.Entra, oidc.AWS, oidc.GCP} {
		if got, err := oidc.ParseRelyingParty(string(party)); got != party || err != nil {
			t.Errorf("%q, %v; want %q", got, err, party)
		}
	}
	_, err := oidc.ParseRelyingParty("azure")
	if got := fmt.Sprint(err); got != `relying party "azure": want entra, aws or gcp` {
		t.Error(got)
	}
}

func ExampleVerify() {
	// What Verify needs in earnest is the issuer alone.
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		fmt.Println(err)
		return
	}
	documents := new(oidc.Handler)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { documents.ServeHTTP(w, r) }))
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())

	issuer, err := oidc.ParseIssuer(server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	if documents, err = oidc.NewHandler(issuer); err != nil {
		fmt.Println(err)
		return
	}
	set, err := keys.NewSet(keys.Key{ID: "2026-11", Algorithm: "ES256", Public: key.Public()})
	if err != nil {
		fmt.Println(err)
		return
	}
	rendered, err := oidc.Render(issuer, set)
	if err != nil {
		fmt.Println(err)
		return
	}
	documents.Set(rendered)

	report := oidc.Verify(context.Background(), issuer, oidc.VerifyOptions{Roots: roots})
	for _, check := range report.Checks {
		if check.Status == oidc.Warn || check.Name == "jwks: key" {
			fmt.Printf("%s %s %q\n", check.Status, check.Name, check.Subject)
		}
	}
	// Output:
	// WARN discovery: TLS chain ""
	// WARN jwks: TLS chain ""
	// PASS jwks: key "2026-11"
}
