package oidc_test

import (
	"bufio"
	"context"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

const discoveryURL = worldIssuer + "/.well-known/openid-configuration"

func TestVerifyReachability(t *testing.T) {
	refuse := func(err error) func(context.Context, string, string) (net.Conn, error) {
		return func(context.Context, string, string) (net.Conn, error) { return nil, err }
	}
	for _, test := range []verifyCase{
		{
			name: "refused", blocks: "discovery: reachable",
			change: func(w *world) {
				w.options.Dial = refuse(&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)})
			},
			want: []string{`FAIL  discovery: reachable: "` + discoveryURL + `": dial tcp: connect: connection refused -> make the server answer here; check host, port and firewall`},
		},
		{
			name: "cut off", blocks: "discovery: reachable",
			change: func(w *world) { w.discovery.cut = true },
			want:   []string{`FAIL  discovery: reachable: "` + discoveryURL + `": unexpected EOF -> make the server answer here; check host, port and firewall`},
		},
		{
			name: "an error that drives the terminal", blocks: "discovery: reachable",
			change: func(w *world) { w.options.Dial = refuse(errors.New("a\x1b[31m\r\nPASS  b")) },
			want:   []string{`FAIL  discovery: reachable: "` + discoveryURL + `": a�[31m��PASS  b -> make the server answer here; check host, port and firewall`},
		},
		{
			name: "a key set that is elsewhere and cut off", blocks: "jwks: reachable",
			change: func(w *world) { w.jwks.cut = true },
			want:   []string{`FAIL  jwks: reachable: "` + worldIssuer + `/openid/v1/jwks": unexpected EOF -> make the server answer here; check host, port and firewall`},
		},
		{
			name: "an address to fetch from that is none", blocks: "discovery: reachable",
			change: func(w *world) { w.options.BaseURL = "https://user:canary@host:port" },
			want:   []string{`FAIL  discovery: reachable: "no URL": invalid port ":port" after host -> make the server answer here; check host, port and firewall`},
		},
		{
			name: "slow",
			change: func(w *world) {
				w.discovery.takes, w.jwks.takes = 5*time.Second, 5001*time.Millisecond
				w.jwks.header.Set("Date", worldTime().Add(10*time.Second).Format(http.TimeFormat))
			},
			want: []string{
				`PASS  discovery: response time: 5s`,
				`WARN  jwks: response time: 5.001s; AWS gives up after 5s -> serve the documents from memory or a CDN, near to the clouds`,
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, nil) })
	}
}

func TestVerifyTLS(t *testing.T) {
	serve := func(w *world, certificate tls.Certificate) { w.tls.Certificates = []tls.Certificate{certificate} }
	for _, test := range []verifyCase{
		{
			name: "a private CA that nobody was told of", blocks: "discovery: TLS chain",
			change: func(w *world) { serve(w, w.private.server(w.t, nil)) },
			want: []string{`FAIL  discovery: TLS chain: certificate "CN=server" is signed by "CN=Private CA", which nothing trusted vouches for (1 sent)` +
				` -> use a certificate of a public CA and serve its intermediates too; for a private CA give its certificate as CA file`},
		},
		{
			name: "a private CA that was given",
			change: func(w *world) {
				serve(w, w.private.server(w.t, nil))
				w.options.Roots = w.private.pool()
			},
			want: []string{
				`WARN  discovery: TLS chain: trusted only through the CA given: certificate "CN=server", 60 days left -> serve a certificate of a public CA to be trusted by public clouds`,
				`WARN  jwks: TLS chain: trusted only through the CA given: certificate "CN=server", 60 days left -> serve a certificate of a public CA to be trusted by public clouds`,
			},
		},
		{
			name:   "a public CA that was given",
			change: func(w *world) { w.options.Roots = w.public.pool() },
		},
		{
			name: "self-signed", blocks: "discovery: TLS chain",
			change: func(w *world) {
				self := authority{key: keytest.EC(w.t, elliptic.P256())}
				der := self.sign(w.t, &x509.Certificate{Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"*.example.com"}}, self.key.Public())
				serve(w, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: self.key})
			},
			want: []string{`FAIL  discovery: TLS chain: certificate "CN=localhost" is self-signed -> use a certificate of a public CA; for a private one give it as CA file`},
		},
		{
			name: "another host's", blocks: "discovery: TLS chain",
			change: func(w *world) {
				serve(w, w.public.server(w.t, func(c *x509.Certificate) { c.DNSNames = []string{"other.example.com", "www.example.com"} }))
			},
			want: []string{`FAIL  discovery: TLS chain: the certificate is not for host "oidc.example.com" but for "other.example.com", "www.example.com", "127.0.0.1"` +
				` -> get a certificate for this host, or correct the issuer`},
		},
		{
			name: "expired", blocks: "discovery: TLS chain",
			change: func(w *world) { w.clock = worldTime().AddDate(0, 0, 61) },
			want: []string{`FAIL  discovery: TLS chain: certificate "CN=server" is valid from 2025-11-22T12:00:00Z to 2027-01-22T11:00:00Z` +
				` -> renew the certificate; if its dates are right, set the clock here`},
		},
		{
			name: "a day within the last two weeks",
			change: func(w *world) {
				serve(w, w.public.server(w.t, func(c *x509.Certificate) {
					c.NotBefore, c.NotAfter = worldTime().AddDate(0, -1, 0), worldTime().AddDate(0, 0, 14).Add(-time.Second)
				}))
			},
			want: []string{
				`WARN  discovery: TLS chain: certificate "CN=server" ends in 13 days, on 2026-12-06 -> renew the certificate now, and see why it was not renewed by itself`,
				`WARN  jwks: TLS chain: certificate "CN=server" ends in 13 days, on 2026-12-06 -> renew the certificate now, and see why it was not renewed by itself`,
			},
		},
		{
			name: "an intermediate that ends sooner",
			change: func(w *world) {
				intermediate := authority{key: keytest.EC(w.t, elliptic.P256())}
				der := w.public.sign(w.t, &x509.Certificate{
					Subject: pkix.Name{CommonName: "Intermediate"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
					NotBefore: worldTime().AddDate(-1, 0, 0), NotAfter: worldTime().AddDate(0, 0, 20),
				}, intermediate.key.Public())
				intermediate.certificate = parse(w.t, der)
				leaf := intermediate.server(w.t, nil)
				leaf.Certificate = append(leaf.Certificate, der)
				serve(w, leaf)
				w.options.Roots = w.public.pool()
			},
			want: []string{
				`PASS  discovery: TLS chain: certificate "CN=Intermediate", 20 days left`,
				`PASS  jwks: TLS chain: certificate "CN=Intermediate", 20 days left`,
			},
		},
		{
			name: "two ways to a root, one of which ends sooner",
			change: func(w *world) {
				intermediate := authority{key: keytest.EC(w.t, elliptic.P256())}
				signedBy := func(a authority, days int) []byte {
					return a.sign(w.t, &x509.Certificate{
						Subject: pkix.Name{CommonName: "Intermediate"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
						NotBefore: worldTime().AddDate(-1, 0, 0), NotAfter: worldTime().AddDate(0, 0, days),
					}, intermediate.key.Public())
				}
				long, short := signedBy(w.public, 40), signedBy(w.private, 20)
				intermediate.certificate = parse(w.t, long)
				leaf := intermediate.server(w.t, nil)
				leaf.Certificate = append(leaf.Certificate, short, long)
				serve(w, leaf)
				w.options.PublicRoots.AddCert(w.private.certificate)
			},
			want: []string{
				`PASS  discovery: TLS chain: certificate "CN=Intermediate", 40 days left`,
				`PASS  jwks: TLS chain: certificate "CN=Intermediate", 40 days left`,
			},
		},
		{
			name: "TLS 1.1", blocks: "discovery: TLS chain",
			change: func(w *world) { w.tls.MinVersion, w.tls.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 },
			want: []string{`FAIL  discovery: TLS chain: remote error: tls: protocol version not supported` +
				` -> make the server speak TLS 1.2 or 1.3 with a certificate of a public CA`},
		},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, nil) })
	}
}

func TestVerifyPlainHTTPWhereHTTPSBelongs(t *testing.T) {
	test := verifyCase{
		blocks: "discovery: TLS chain",
		change: func(w *world) {
			w.options.Dial = func(context.Context, string, string) (net.Conn, error) {
				client, server := net.Pipe()
				go func() {
					defer server.Close() //nolint:errcheck // a pipe
					buffer := make([]byte, 1<<14)
					server.Read(buffer)                                        //nolint:errcheck // the client hello
					io.WriteString(server, "HTTP/1.1 400 Bad Request\r\n\r\n") //nolint:errcheck // the client hangs up
				}()
				return client, nil
			}
		},
		want: []string{`FAIL  discovery: TLS chain: the server does not speak TLS -> serve HTTPS at this address`},
	}
	test.run(t, nil)
}

func TestVerifyAnswers(t *testing.T) {
	status := func(status int, header ...string) func(w *world) {
		return func(w *world) {
			w.discovery.status, w.discovery.body = status, "<Error>canary</Error>"
			for i := 0; i < len(header); i += 2 {
				w.discovery.header.Set(header[i], header[i+1])
			}
		}
	}
	access := "discovery: anonymous access"
	for _, test := range []verifyCase{
		{
			name: "a redirect", blocks: "discovery: no redirect", change: status(302, "Location", "https://login.example.org/canary?canary"),
			want: []string{`FAIL  discovery: no redirect: HTTP 302 redirects to host "login.example.org" -> serve the document at this very address:` +
				` relying parties do not follow redirects; publicly readable, without a login page`},
		},
		{
			name: "a redirect to a path", blocks: "discovery: no redirect", change: status(301, "Location", "/elsewhere"),
			want: []string{`FAIL  discovery: no redirect: HTTP 301 redirects to elsewhere -> serve the document at this very address:` +
				` relying parties do not follow redirects; publicly readable, without a login page`},
		},
		{
			name: "401", blocks: access, change: status(401),
			want: []string{`FAIL  discovery: anonymous access: HTTP 401 Unauthorized -> let everybody GET this address without credentials; an API server does so` +
				` only if anonymous requests and the role system:service-account-issuer-discovery allow it, so better publish with issuer-sync`},
		},
		{
			name: "404", blocks: access, change: status(404),
			want: []string{`FAIL  discovery: anonymous access: HTTP 404 Not Found -> run issuer-sync publish, and let this exact path be served (case and slashes matter)`},
		},
		{
			name: "429", blocks: access, change: status(429),
			want: []string{`FAIL  discovery: anonymous access: HTTP 429 Too Many Requests -> wait, then raise the server's request limit: clouds ask from many addresses`},
		},
		{
			name: "503", blocks: access, change: status(503),
			want: []string{`FAIL  discovery: anonymous access: HTTP 503 Service Unavailable -> see the server's log; relying parties want HTTP 200`},
		},
		{
			name: "no content", blocks: access, change: func(w *world) { w.discovery.status, w.discovery.body = 204, "" },
			want: []string{`PASS  discovery: no redirect: HTTP 204`, `FAIL  discovery: anonymous access: HTTP 204 No Content -> see the server's log; relying parties want HTTP 200`},
		},
		{
			name: "a key set that is not public", blocks: "jwks: anonymous access", change: func(w *world) { w.jwks.status = 403 },
			want: []string{`PASS  jwks: no redirect: HTTP 403`, `FAIL  jwks: anonymous access: HTTP 403 Forbidden -> let everybody GET this address without credentials; an API server does so` +
				` only if anonymous requests and the role system:service-account-issuer-discovery allow it, so better publish with issuer-sync`},
		},
	} {
		if len(test.want) == 1 && test.blocks == access {
			_, code, _ := strings.Cut(test.want[0], "HTTP ")
			test.want = append([]string{"PASS  discovery: no redirect: HTTP " + code[:3]}, test.want...)
		}
		t.Run(test.name, func(t *testing.T) { test.run(t, nil) })
	}
}

func TestVerifyAzureStorage(t *testing.T) {
	const blob, web = "https://contoso.blob.core.windows.net/oidc-prod", "https://contoso.z6.web.core.windows.net"
	answer := func(status int, code string) func(*world) {
		return func(w *world) {
			w.discovery.status = status
			w.discovery.header["x-ms-error-code"] = []string{code}
		}
	}
	setPermission := "az storage container set-permission --account-name contoso --name oidc-prod --public-access blob"
	for _, test := range []struct {
		name, issuer string
		change       func(*world)
		want         string
	}{
		{
			"public access forbidden to the account", blob, answer(409, "PublicAccessNotPermitted"),
			`HTTP 409, storage error "PublicAccessNotPermitted" -> run: az storage account update --name contoso --allow-blob-public-access true;` +
				` where a policy forbids that, publish to the account's static website ($web), or serve with issuer-sync`,
		},
		{
			"a private container, or nothing published", blob, answer(404, "ResourceNotFound"),
			`HTTP 404, storage error "ResourceNotFound" -> run issuer-sync publish; Azure says 404 for a private container too: ` + setPermission,
		},
		{
			"no credentials", blob, answer(401, "NoAuthenticationInformation"),
			`HTTP 401, storage error "NoAuthenticationInformation" -> run: ` + setPermission + `; and let the account's firewall admit all networks`,
		},
		{
			"the account's firewall", blob, answer(403, "AuthorizationFailure"),
			`HTTP 403, storage error "AuthorizationFailure" -> run: ` + setPermission + `; and let the account's firewall admit all networks`,
		},
		{
			"a container with a name that a shell would run", "https://contoso.blob.core.windows.net/$(id)", answer(403, "AuthorizationFailure"),
			`HTTP 403, storage error "AuthorizationFailure" -> run: ` + strings.Replace(setPermission, "oidc-prod", "CONTAINER", 1) + `; and let the account's firewall admit all networks`,
		},
		{
			"nothing on the website", web, answer(404, "WebContentNotFound"),
			`HTTP 404, storage error "WebContentNotFound" -> run issuer-sync publish for the container $web, at the same path (case matters), and: ` +
				`az storage blob service-properties update --account-name contoso --static-website`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.issuer = test.issuer
			w.publish(rsaPublic("rsa-1"))
			test.change(w)
			report := lines(w.verify())
			var got, lock string
			for _, line := range report {
				if rest, ok := strings.CutPrefix(line, "FAIL  discovery: anonymous access: "); ok {
					got = rest
				}
				if strings.Contains(line, "storage: delete lock") {
					lock = line
				}
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			wantLock := `SKIP  storage: delete lock: cannot be seen from outside; whoever registers the name of a deleted storage account becomes this issuer` +
				` -> run: az lock create --name issuer --lock-type CanNotDelete --resource-type Microsoft.Storage/storageAccounts --resource-name contoso --resource-group GROUP`
			if lock != wantLock {
				t.Errorf("got  %s\nwant %s", lock, wantLock)
			}
		})
	}
}

func TestVerifyClock(t *testing.T) {
	date := func(offset time.Duration) func(*world) {
		return func(w *world) { w.discovery.header.Set("Date", worldTime().Add(offset).Format(http.TimeFormat)) }
	}
	const cure = ` -> synchronize the clocks (NTP) of the server and of this machine`
	for _, test := range []verifyCase{
		{name: "a minute behind", change: date(-time.Minute)},
		{
			name: "more than a minute ahead", change: date(61 * time.Second),
			want: []string{`WARN  discovery: clock: the server's clock and the one here differ by 1m1s` + cure},
		},
		{
			name: "five minutes behind", change: date(-5 * time.Minute),
			want: []string{`WARN  discovery: clock: the server's clock and the one here differ by 5m0s` + cure},
		},
		{
			name: "more than five minutes behind", change: date(-301 * time.Second),
			want: []string{`FAIL  discovery: clock: the server's clock and the one here differ by 5m1s; at most 5m0s is tolerated` + cure},
		},
		{
			name: "kept by a cache for ten minutes",
			change: func(w *world) {
				date(-10 * time.Minute)(w)
				w.discovery.header.Set("Age", "600")
			},
		},
		{
			name: "a Date that is none", change: func(w *world) { w.discovery.header.Set("Date", "now") },
			want: []string{`SKIP  discovery: clock: the answer has no Date header`},
		},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, nil) })
	}
}

func TestVerifyGivesUpAfterTenSeconds(t *testing.T) {
	hang := func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	never := func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			if _, err := http.ReadRequest(bufio.NewReader(server)); err == nil {
				io.WriteString(server, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{") //nolint:errcheck // seen by the client
			}
			io.Copy(io.Discard, server) //nolint:errcheck // until the client hangs up
		}()
		return client, nil
	}
	for name, dial := range map[string]func(context.Context, string, string) (net.Conn, error){"connecting": hang, "reading": never} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				report := oidc.Verify(t.Context(), issuer(t, worldIssuer), oidc.VerifyOptions{Dial: dial, BaseURL: "http://127.0.0.1"})
				want := `FAIL  discovery: reachable: "http://127.0.0.1/.well-known/openid-configuration": no whole answer within 10s` +
					` -> let the host be reached from everywhere: firewall, load balancer, private endpoint`
				if got := report.Checks[0].String(); got != want {
					t.Errorf("%s\nwant %s", got, want)
				}
				if took := time.Since(start); took != 10*time.Second {
					t.Errorf("took %s; want 10s", took)
				}
			})
		})
	}
}

func TestVerifyFetchesFromBaseURL(t *testing.T) {
	w := newWorld(t)
	w.issuer = "https://issuer.example.org/a/"
	w.publish(rsaPublic("rsa-1"))
	w.options.RelyingParties = []oidc.RelyingParty{oidc.GCP}
	w.options.BaseURL = "https://oidc.example.com/b/c/"
	w.pages = map[string]*page{"oidc.example.com/b/c/.well-known/openid-configuration": w.discovery, "oidc.example.com/b/c/openid/v1/jwks": w.jwks}
	report := w.verify()
	if report.Failed() {
		t.Errorf("failed:\n%s", strings.Join(lines(report), "\n"))
	}
	want := "SKIP  gcp: public certificate: the issuer's own certificate was not seen -> verify without another address to fetch from"
	if !strings.Contains(strings.Join(lines(report), "\n"), want) {
		t.Errorf("got\n%s\nwant among them %s", strings.Join(lines(report), "\n"), want)
	}

	t.Run("but a key set elsewhere from there", func(t *testing.T) {
		w.set("jwks_uri", "https://keys.example.com/k")
		w.pages["keys.example.com/k"] = w.jwks
		w.requests = nil
		if report := w.verify(); report.Failed() || w.requests[1] != "keys.example.com/k" {
			t.Errorf("asked for %q:\n%s", w.requests, strings.Join(lines(report), "\n"))
		}
	})
}

// TestVerifyAsksNoProxyForLinkLocal runs itself again, because net/http reads
// the environment once: there with a proxy, which is this process.
func TestVerifyAsksNoProxyForLinkLocal(t *testing.T) {
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://x.test", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if proxy, err := http.ProxyFromEnvironment(request); err == nil && proxy != nil && proxy.Query().Get("from") == t.Name() {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for _, host := range []string{"x.test", "[fe80::1]", "169.254.1.2"} {
			oidc.Verify(ctx, issuer(t, "https://"+host), oidc.VerifyOptions{})
		}
		return
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 10)
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.Host })}
	go server.Serve(listener) //nolint:errcheck // ends with Close
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), program, "-test.run=^"+t.Name()+"$")
	child.Env = []string{"HTTPS_PROXY=http://" + listener.Addr().String() + "?from=" + t.Name()}
	if output, err := child.CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, output)
	}
	server.Close() //nolint:errcheck // only its handlers matter
	close(asked)
	var hosts []string
	for host := range asked {
		hosts = append(hosts, host)
	}
	if got := strings.Join(hosts, " "); got != "x.test:443" {
		t.Errorf("the proxy was asked for %q; want x.test:443 alone", got)
	}
}
