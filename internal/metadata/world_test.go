package metadata_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/entra"
	"github.com/issuer-sync/issuer-sync/internal/metadata"
	"github.com/issuer-sync/issuer-sync/pkg/exchange"
	"github.com/issuer-sync/issuer-sync/test/cloud"
)

// world is a cluster's issuer, the stand-in for Entra, and the endpoint over
// the real exchange: everything but the endpoint over TLS.
type world struct {
	pod     entra.Credential // what the pod's tokens say
	entra   *entra.Server
	file    string
	log     *buffer // of everything, at the lowest level
	address string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{file: filepath.Join(t.TempDir(), "token"), log: new(buffer)}
	log := slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug - 10, AddSource: true}))
	issuer := cloud.NewIssuer(t)
	w.pod = entra.Credential{Issuer: issuer.URL, Subject: "system:serviceaccount:default:demo", Audience: "api://AzureADTokenExchange"}
	w.entra = cloud.Entra(t, entra.Config{
		Apps: []entra.App{{Tenant: tenant, Client: client, Credentials: []entra.Credential{w.pod}}}, Roots: issuer.Roots(),
	})
	w.project(t, w.mint(t))
	cache := w.cache(t, log)
	handler := newHandler(t, cache, func(c *metadata.Config) { c.Log = log })
	w.address = listen(t, handler, log)
	return w
}

func (w *world) cache(t testing.TB, log *slog.Logger) *exchange.Cache {
	t.Helper()
	c, err := exchange.New(exchange.Config{
		Authority:  w.entra.URL(),
		Endpoint:   exchange.Endpoint{URL: w.entra.URL(), CAData: string(w.entra.CA())},
		Assertions: exchange.TokenFile(w.file), Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	cache := exchange.Cached(c, exchange.TokenFile(w.file), log)
	t.Cleanup(cache.Close)
	return cache
}

// mint signs a token of the pod.
func (w *world) mint(t testing.TB) string {
	t.Helper()
	return cloud.Token(t, 1, cloud.Claims(w.pod))
}

// project writes the token file.
func (w *world) project(t testing.TB, token string) {
	t.Helper()
	if err := os.WriteFile(w.file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestHundredFirstCallers over real connections cost one exchange, and get one
// access token.
func TestHundredFirstCallers(t *testing.T) {
	w := newWorld(t)
	w.entra.Disturb(func(int) entra.Fault { return entra.Fault{Delay: 50 * time.Millisecond} })
	tokens := make([]string, 100)
	var callers sync.WaitGroup
	for i := range tokens {
		callers.Go(func() {
			a := send(t, w.address, get(asked))
			_, rest, _ := strings.Cut(a.body, `"access_token":"`)
			tokens[i], _, _ = strings.Cut(rest, `"`)
			if a.status != http.StatusOK {
				t.Errorf("answer: %v", a)
			}
		})
	}
	callers.Wait()
	if n := w.entra.Requests(); n != 1 {
		t.Errorf("%d exchanges; want 1", n)
	}
	for _, token := range tokens {
		if token == "" || token != tokens[0] {
			t.Fatalf("access tokens differ: %q, %q", tokens[0], token)
		}
	}
}

// TestCauseAndCure: what a user reads when something is wrong, from end to end.
func TestCauseAndCure(t *testing.T) {
	w := newWorld(t)
	expect := func(request string, status int, parts ...string) {
		t.Helper()
		a := send(t, w.address, request)
		a.checkHeaders(t)
		if a.status != status {
			t.Errorf("status %d; want %d", a.status, status)
		}
		for _, part := range parts {
			if !strings.Contains(a.body, part) {
				t.Errorf("answer lacks %s: %v", part, a)
			}
		}
	}
	expect(get(asked+"&client_id="+other), 400, `"error":"unauthorized_client"`, "AADSTS700016", "azure.workload.identity/client-id", "correlation ID ")
	expect(get(metadata.TokenPath+"?resource=a%20b"), 400, `"error":"invalid_request"`, "want printable ASCII without spaces")
	expect(get(metadata.TokenPath+"?resource="+strings.Repeat("x", 4000)), 400, `"error":"invalid_request"`, "a scope of 4009 characters")

	w.project(t, "not a token")
	expect(get(asked), 400, `"error":"invalid_request"`, "no usable token", "want a JWT's 3")
	w.project(t, w.mint(t)) // repaired, it works at once
	expect(get(metadata.TokenPath+"?resource=api://repaired"), 200)
	w.entra.Disturb(func(int) entra.Fault {
		return entra.Fault{Status: 429, Header: http.Header{"Retry-After": {"7"}}}
	})
	expect(get(asked), 429, "throttled by Entra")
	if a := send(t, w.address, get(asked)); a.header.Get("Retry-After") != "7" || w.entra.Requests() != 1 {
		t.Errorf("%d requests to Entra; answer %v", w.entra.Requests(), a)
	}
	w.entra.Disturb(nil)
	expect(get(metadata.TokenPath+"?resource=api://another"), 429, "throttled by Entra")
	expect(get(metadata.TokenPath+"?resource=api://another&client_id="+other), 400, "AADSTS700016")
	if w.entra.Requests() != 1 {
		t.Errorf("%d requests to Entra; want 1", w.entra.Requests())
	}
}

// TestCanary looks for tokens, and for what callers and Entra write, in logs at
// the lowest level, and for the assertion and Entra's words in answers.
func TestCanary(t *testing.T) {
	w := newWorld(t)
	const said, query, header, body = "canary-entra-5d0a", "canary-query-77f1", "canary-header-3c99", "canary-body-0b12"
	assertion := w.mint(t)
	w.project(t, assertion)
	var answers, tokens []string
	ask := func(request string) {
		a := send(t, w.address, request)
		if a.status != http.StatusOK {
			answers = append(answers, a.String())
			return
		}
		_, rest, _ := strings.Cut(a.body, `"access_token":"`)
		token, _, _ := strings.Cut(rest, `"`)
		tokens = append(tokens, token)
	}
	n := 0
	fresh := func() string { n++; return fmt.Sprintf("%s?resource=api://%d", metadata.TokenPath, n) }
	echoes := fmt.Sprintf(`{"error":%[1]q,"error_description":"AADSTS70021: %[1]s","error_codes":[70021],"trace_id":%[1]q,"correlation_id":%[1]q}`, said+assertion)
	faulty := func(status int, more string) {
		for _, text := range []string{said + assertion, echoes} {
			w.entra.Disturb(func(int) entra.Fault {
				return entra.Fault{Status: status, Body: text, Header: http.Header{"Location": {said}, "Retry-After": {said}, "X": {assertion}}}
			})
			ask(get(fresh() + more))
		}
	}
	for _, status := range []int{200, 301, 401, 503} {
		faulty(status, "")
	}
	faulty(429, "&client_id="+other) // whose requests are not sent from then on
	w.entra.Disturb(func(int) entra.Fault { return entra.Fault{Cut: true} })
	ask(get(fresh()))
	w.entra.Disturb(nil)
	ask(get(fresh()))
	for _, secret := range []string{"%3Fsig=" + query, "%23" + query} {
		granted := len(tokens)
		if ask(get(fresh() + secret)); len(tokens) == granted {
			t.Errorf("no access token for a resource with a secret")
		}
	}
	hidden := "Authorization: Bearer " + header + "\r\nCookie: " + header + "\r\nX-Ms-Client-Request-Id: " + header + "\r\n" +
		"Content-Length: " + fmt.Sprint(len(body)) + "\r\n"
	for _, more := range []string{
		"&client_secret=" + query + "&" + query + "=1", "&client_id=" + query, "&object_id=" + query, "&client_id=" + client + "&mi_res_id=" + query,
		"&" + query + "&" + query, "&" + query + "=%zz", "&client_id=" + query + ";", "&x=" + strings.Repeat(query, 50),
	} {
		ask(get(fresh()+more, hidden) + body)
	}
	for _, resource := range []string{query + "%20x", query + strings.Repeat("x", 3000), query + "%00"} {
		ask(get(metadata.TokenPath+"?resource="+resource, hidden) + body)
	}
	ask(get("http://user:"+query+"@127.0.0.1/", hidden) + body)
	ask(get("/x?"+query, hidden) + body)
	ask(get("/"+query, hidden) + body)
	ask("GET " + fresh() + " HTTP/1.1\r\nHost: " + header + "\r\nMetadata: " + header + "\r\n\r\n")
	ask("GET " + fresh() + " HTTP/1.1\r\n" + headHost + "Metadata: " + header + "\r\nX-Forwarded-For: " + header + "\r\n\r\n")
	ask("GET " + fresh() + " HTTP/1.1\r\n" + headHost + header + "\r\n\r\n")
	ask(get(fresh(), "Transfer-Encoding: "+header+"\r\n"))
	if len(tokens) < 2 {
		t.Fatalf("only %d access tokens: nothing to look for; answers %v", len(tokens), answers)
	}
	log := w.log.String()
	for _, canary := range append(tokens, assertion, assertion[len(assertion)-40:], said, query, header, body) {
		if i := strings.Index(log, canary); i >= 0 {
			t.Errorf("log has %q: …%s…", canary, log[max(0, i-300):min(len(log), i+100)])
		}
	}
	all := strings.Join(answers, "\n")
	for _, canary := range append(tokens, assertion, assertion[len(assertion)-40:], said, header, body) {
		// The host is the caller's own word, quoted.
		if i := strings.Index(strings.ReplaceAll(all, `host \"`+header, ""), canary); i >= 0 {
			t.Errorf("answers have %q: %s", canary, all)
		}
	}
}
