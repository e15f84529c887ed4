package metadata_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/metadata"
	"github.com/issuer-sync/issuer-sync/pkg/exchange"
)

// serve gives the handler a request without a network, as in a synctest bubble.
func serve(t testing.TB, handler http.Handler, target string) answered {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody)
	r.Host = "169.254.169.254"
	r.Header.Set("Metadata", "true")
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, r)
	return answered{status: recorder.Code, header: recorder.Header(), body: recorder.Body.String()}
}

// TestAnswer holds every byte of an answer with an access token. The bubble's
// time begins at 946684800.
func TestAnswer(t *testing.T) {
	token := func(expires, extended time.Duration) exchange.AccessToken {
		now := time.Now()
		return exchange.AccessToken{Value: exchange.NewSecret(secret), IssuedAt: now, ExpiresAt: now.Add(expires), ExtendedUntil: now.Add(extended)}
	}
	for _, test := range []struct {
		name string
		does func(context.Context, exchange.Request) (exchange.AccessToken, error)
		want string
	}{
		{
			name: "fresh",
			does: func(context.Context, exchange.Request) (exchange.AccessToken, error) {
				return token(86399*time.Second, 86399*time.Second), nil
			},
			want: `"token_type":"Bearer","expires_in":"86399","expires_on":"946771199","not_before":"946684800",` +
				`"resource":"https://vault.azure.net","client_id":"` + client + `","ext_expires_in":"86399"`,
		},
		{
			name: "of another lifetime while Entra is down",
			does: func(context.Context, exchange.Request) (exchange.AccessToken, error) {
				return token(3599*time.Second, 7200*time.Second), nil
			},
			want: `"token_type":"Bearer","expires_in":"3599","expires_on":"946688399","not_before":"946684800",` +
				`"resource":"https://vault.azure.net","client_id":"` + client + `","ext_expires_in":"7200"`,
		},
		{
			name: "after an exchange of some time, by the clock at its end",
			does: func(context.Context, exchange.Request) (exchange.AccessToken, error) {
				token := token(time.Hour, time.Hour)
				time.Sleep(10*time.Second + 600*time.Millisecond)
				return token, nil
			},
			want: `"token_type":"Bearer","expires_in":"3590","expires_on":"946688400","not_before":"946684800",` +
				`"resource":"https://vault.azure.net","client_id":"` + client + `","ext_expires_in":"3590"`,
		},
		{
			name: "between two seconds",
			does: func(context.Context, exchange.Request) (exchange.AccessToken, error) {
				time.Sleep(900 * time.Millisecond)
				return token(time.Hour+200*time.Millisecond, 0), nil
			},
			want: `"token_type":"Bearer","expires_in":"3601","expires_on":"946688401","not_before":"946684800",` +
				`"resource":"https://vault.azure.net","client_id":"` + client + `","ext_expires_in":"3601"`,
		},
		{
			name: "at its end, which a cache does not let happen",
			does: func(context.Context, exchange.Request) (exchange.AccessToken, error) {
				return token(-time.Second, -time.Second), nil
			},
			want: `"token_type":"Bearer","expires_in":"0","expires_on":"946684799","not_before":"946684800",` +
				`"resource":"https://vault.azure.net","client_id":"` + client + `","ext_expires_in":"0"`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := serve(t, newHandler(t, &source{does: test.does}), asked)
				a.checkHeaders(t)
				want := `{"access_token":"` + secret + `",` + test.want + `}`
				if diff := cmp.Diff(want, a.body); a.status != http.StatusOK || diff != "" {
					t.Errorf("status %d\n%s", a.status, diff)
				}
			})
		})
	}
}

// TestResource: the answer repeats what was asked for, whatever it is. Of what
// a source gives access tokens for, a quote is the worst.
func TestResource(t *testing.T) {
	handler := newHandler(t, new(source))
	for query, want := range map[string]string{
		"https%3A%2F%2Fvault.azure.net%2F": `"https://vault.azure.net/"`,
		"%22":                              `"\""`,
		`a\b`:                              `"a\\b"`,
		"%00":                              `"\u0000"`,
		"a%0Ab":                            `"a\nb"`,
		"%E2%80%A8":                        `"\u2028"`,
		"%C3%A9%F0%9F%98%80":               `"é😀"`,
		"%ff":                              `"\ufffd"`,
	} {
		a := serve(t, handler, metadata.TokenPath+"?resource="+query)
		a.checkHeaders(t)
		if part := `,"resource":` + want + `,"client_id":`; a.status != http.StatusOK || !strings.Contains(a.body, part) {
			t.Errorf("%s: answer lacks %s: %v", query, part, a)
		}
	}
}

// TestFailures holds what becomes of each error of a source: the answer is in
// a golden file, the log line is here.
func TestFailures(t *testing.T) {
	const line = `msg=answered method=GET path=/metadata/identity/oauth2/token status=%d duration=1ms client_id=` + client + "%s\n"
	const ids = "44444444-4444-4444-4444-444444444444"
	refused := &exchange.Error{
		Kind: exchange.Rejected, Detail: "answered 401 Unauthorized", Hint: `compare them; the token says issuer "https://x"`,
		Status: 401, Code: "invalid_client", AADSTS: 70021, CorrelationID: ids, TraceID: other,
	}
	var all strings.Builder
	for _, test := range []struct {
		name   string
		err    error
		status int
		level  string
		log    string
	}{
		{
			name: "invalid", err: &exchange.Error{Kind: exchange.Invalid, Detail: `scope "canary": want less`},
			status: 400, level: "INFO", log: ` reason=invalid`,
		},
		{
			name: "invalid with a time to wait", err: &exchange.Error{Kind: exchange.Invalid, Detail: `tenant "x"`, RetryAfter: time.Minute},
			status: 400, level: "INFO", log: ` reason=invalid`,
		},
		{
			name: "rejected", err: refused, status: 400, level: "WARN",
			log: ` err="refused by Entra: answered 401 Unauthorized, invalid_client, AADSTS70021: compare them; the token says issuer \"https://x\" ` +
				`(correlation ID ` + ids + `, trace ID ` + other + `)"`,
		},
		{
			name: "rejected, wrapped", err: fmt.Errorf("getting: %w", refused), status: 400, level: "WARN",
			log: ` err="refused by Entra: answered 401 Unauthorized, invalid_client, AADSTS70021: compare them; the token says issuer \"https://x\" ` +
				`(correlation ID ` + ids + `, trace ID ` + other + `)"`,
		},
		{
			name: "rejected without a code", err: &exchange.Error{Kind: exchange.Rejected, Detail: "answered 404 Not Found", Status: 404, RetryAfter: time.Second},
			status: 400, level: "WARN", log: ` err="refused by Entra: answered 404 Not Found"`,
		},
		{
			name: "throttled", err: &exchange.Error{Kind: exchange.Throttled, Detail: "answered 429 Too Many Requests", RetryAfter: 30 * time.Second},
			status: 429, level: "WARN", log: ` err="throttled by Entra: answered 429 Too Many Requests"`,
		},
		{
			name: "throttled for a part of a second", err: &exchange.Error{Kind: exchange.Throttled, RetryAfter: time.Millisecond},
			status: 429, level: "WARN", log: ` err="throttled by Entra"`,
		},
		{
			name: "throttled for more than a second", err: &exchange.Error{Kind: exchange.Throttled, RetryAfter: time.Second + 1},
			status: 429, level: "WARN", log: ` err="throttled by Entra"`,
		},
		{
			name: "throttled without a time", err: &exchange.Error{Kind: exchange.Throttled},
			status: 429, level: "WARN", log: ` err="throttled by Entra"`,
		},
		{
			name: "unavailable", err: &exchange.Error{Kind: exchange.Unavailable, Detail: "dial tcp 127.0.0.1:1: connect: connection refused", RetryAfter: 2 * time.Second},
			status: 503, level: "WARN", log: ` err="no answer from Entra: dial tcp 127.0.0.1:1: connect: connection refused"`,
		},
		{
			name: "unavailable with a code of Entra", err: &exchange.Error{Kind: exchange.Unavailable, Code: "server_error", AADSTS: 90033},
			status: 503, level: "WARN", log: ` err="no answer from Entra, server_error, AADSTS90033"`,
		},
		{
			name: "no token", err: &exchange.Error{Kind: exchange.NoToken, Detail: `reading token file "/x": no such file or directory`},
			status: 400, level: "WARN", log: ` err="no usable token: reading token file \"/x\": no such file or directory"`,
		},
		{
			name: "expired", err: &exchange.Error{Kind: exchange.Expired, Detail: `the token in "/x" expired`},
			status: 503, level: "WARN", log: ` err="expired token: the token in \"/x\" expired"`,
		},
		{
			name: "internal", err: &exchange.Error{Kind: exchange.Internal, Detail: "panic of type string"},
			status: 503, level: "ERROR", log: ` err="internal error: panic of type string"`,
		},
		{
			name: "an unknown kind", err: &exchange.Error{Kind: "new", Detail: "x"},
			status: 503, level: "WARN", log: ` err="new: x"`,
		},
		{
			name: "another error", err: errors.New("canary"),
			status: 503, level: "WARN", log: ` err="error of type *errors.errorString"`,
		},
		{
			name: "the end of the caller's context", err: context.Canceled,
			status: 503, level: "WARN", log: ` err="error of type *errors.errorString"`,
		},
	} {
		var log buffer
		handler := newHandler(t, &source{does: fails(test.err)}, func(c *metadata.Config) { c.Log = logTo(&log, slog.LevelDebug) })
		a := serve(t, handler, asked)
		a.checkHeaders(t)
		if a.status != test.status {
			t.Errorf("%s: status %d; want %d", test.name, a.status, test.status)
		}
		if a.status == http.StatusBadRequest && a.header.Get("Retry-After") != "" {
			t.Errorf("%s: clients are told to try again", test.name)
		}
		want := "level=" + test.level + " " + fmt.Sprintf(line, test.status, test.log)
		if diff := cmp.Diff(want, log.String()); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
		fmt.Fprintf(&all, "# %s\n%v\n", test.name, a)
	}
	golden(t, "failures.txt", all.String())
}

// TestPanic: what net/http would log of a panic may be secret.
func TestPanic(t *testing.T) {
	var log buffer
	s := &source{does: func(context.Context, exchange.Request) (exchange.AccessToken, error) { panic("canary") }}
	cache := exchange.Cached(s, noFile{}, logTo(&log, slog.LevelDebug))
	t.Cleanup(cache.Close)
	for name, test := range map[string]struct {
		source metadata.Source
		want   string
	}{
		"of the request":        {s, `err="panic of type string: goroutine `},
		"behind the real cache": {cache, `err="internal error: panic of type string"`},
	} {
		handler := newHandler(t, test.source, func(c *metadata.Config) { c.Log = logTo(&log, slog.LevelDebug) })
		a := send(t, listen(t, handler, logTo(&log, slog.LevelDebug)), get(asked))
		const body = `{"error":"temporarily_unavailable","error_description":"internal error of the proxy"}`
		if a.status != http.StatusServiceUnavailable || a.body != body || a.header.Get("Retry-After") != "5" {
			t.Errorf("%s: answer %v", name, a)
		}
		if got := log.String(); !strings.Contains(got, "level=ERROR msg=answered") || !strings.Contains(got, test.want) || !strings.Contains(got, "TestPanic.func1") {
			t.Errorf("%s: log lacks its line: %s", name, got)
		}
	}
	if got := log.String(); strings.Contains(got, "canary") {
		t.Errorf("log has the value: %s", got)
	}
}

// noFile has an assertion that nobody looks at.
type noFile struct{}

// Assertion implements exchange.Assertions.
func (noFile) Assertion(context.Context) (exchange.Assertion, error) {
	return exchange.Assertion{}, nil
}

// TestLog holds the line of each kind of request.
func TestLog(t *testing.T) {
	long := strings.Repeat("x", 101)
	cut := strings.Repeat("x", 99)
	for _, test := range []struct{ name, request, want string }{
		{"a token", get(asked + "&client_id=" + strings.ToUpper(client)), `level=INFO msg=answered method=GET path=/metadata/identity/oauth2/token status=200 duration=1ms client_id=` + client},
		{"another spelling", get("/Metadata/identity/oauth2/token/" + query), `level=INFO msg=answered method=GET path=/Metadata/identity/oauth2/token/ status=200 duration=1ms client_id=` + client},
		{"a probe of readiness", get("/readyz?x=y"), `level=DEBUG msg=answered method=GET path=/readyz status=200 duration=1ms`},
		{"a probe without header", "GET " + asked + " HTTP/1.1\r\n" + headHost + "\r\n", `level=INFO msg=answered method=GET path=/metadata/identity/oauth2/token status=400 duration=1ms reason=metadata_header`},
		{"another path", get("/metadata/instance?api-version=2021-02-01"), `level=INFO msg=answered method=GET path=other status=404 duration=1ms reason=path`},
		{"a hostile path", get("/\"\x1b[31m%0Alevel=ERROR"), ""},
		{"an odd path", get("/\"é=%0Alevel=ERROR"), `level=INFO msg=answered method=GET path=other status=404 duration=1ms reason=path`},
		{"a long path", get("/" + long), `level=INFO msg=answered method=GET path=other status=404 duration=1ms reason=path`},
		{"a long method", long + " / HTTP/1.1\r\n" + headHost + "\r\n", `level=INFO msg=answered method=x` + cut + `… path=other status=404 duration=1ms reason=path`},
		{"absolute form", get("http://user:password@example.com/x"), `level=INFO msg=answered method=GET path=other status=400 duration=1ms reason=no_path`},
		{"HTTP/1.0", "GET " + asked + " HTTP/1.0\r\n\r\n", `level=INFO msg=answered method=GET path=/metadata/identity/oauth2/token status=400 duration=1ms reason=http_version`},
		{"another host", "GET " + asked + " HTTP/1.1\r\nHost: x\r\n\r\n", `level=INFO msg=answered method=GET path=/metadata/identity/oauth2/token status=400 duration=1ms reason=host`},
		{"another method", "PUT " + asked + " HTTP/1.1\r\n" + headHost + "\r\n", `level=INFO msg=answered method=PUT path=/metadata/identity/oauth2/token status=405 duration=1ms reason=method`},
		{"forwarded", get(asked, "X-Forwarded-For: x\r\n"), `level=INFO msg=answered method=GET path=/metadata/identity/oauth2/token status=400 duration=1ms reason=forwarded`},
		{"repeated variables", get(asked + "&x&x"), `level=INFO msg=answered method=GET path=/metadata/identity/oauth2/token status=400 duration=1ms reason=query`},
		{"no resource", get(metadata.TokenPath), `level=INFO msg=answered method=GET path=/metadata/identity/oauth2/token status=400 duration=1ms reason=resource`},
		{"a selector", get(asked + "&object_id=x"), `level=INFO msg=answered method=GET path=/metadata/identity/oauth2/token status=400 duration=1ms reason=selector`},
		{"a bad client ID", get(asked + "&client_id=x"), `level=INFO msg=answered method=GET path=/metadata/identity/oauth2/token status=400 duration=1ms reason=client_id`},
		{"a client ID that is not allowed", get(asked + "&client_id=" + other), `level=INFO msg=answered method=GET path=/metadata/identity/oauth2/token status=400 duration=1ms client_id=` + other + ` reason=not_allowed`},
		{"a body", get(asked, "Content-Length: 65537\r\n") + strings.Repeat("x", 65537), `level=INFO msg=answered method=GET path=/metadata/identity/oauth2/token status=413 duration=1ms client_id=` + client + ` reason=body`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var log buffer
			handler := newHandler(t, new(source), func(c *metadata.Config) {
				c.AllowedClientIDs = []string{client}
				c.Log = logTo(&log, slog.LevelDebug)
			})
			address := listen(t, handler, quiet())
			send(t, address, test.request)
			// send asks for readyz after it, if the server lets it.
			const after = `level=DEBUG msg=answered method=GET path=/readyz status=200 duration=1ms` + "\n"
			got := strings.TrimSuffix(strings.TrimSuffix(log.String(), after), "\n")
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestLogLevel: by default probes of readiness are not logged, all else is.
func TestLogLevel(t *testing.T) {
	var log buffer
	handler := newHandler(t, new(source), func(c *metadata.Config) { c.Log = logTo(&log, slog.LevelInfo) })
	serve(t, handler, metadata.ReadyPath)
	if log.String() != "" {
		t.Errorf("logged %s", log.String())
	}
	serve(t, handler, asked)
	if strings.Count(log.String(), "\n") != 1 {
		t.Errorf("logged %s; want a line", log.String())
	}
}

// TestNew holds what is wrong with a config, all at once.
func TestNew(t *testing.T) {
	handler, err := metadata.New(metadata.Config{ClientID: "a", AllowedClientIDs: []string{client, "b", ""}})
	const want = "tenant \"\": want a GUID or a domain name\n" +
		"client ID \"a\": want a GUID\nallowed client ID \"b\": want a GUID\nallowed client ID \"\": want a GUID"
	if err == nil || err.Error() != want || handler != nil {
		t.Errorf("handler %v, error %v; want %s", handler, err, want)
	}
	if _, err := metadata.New(metadata.Config{TenantID: "contoso.example"}); err != nil {
		t.Errorf("without client IDs: %v", err)
	}
}

// TestNumbersAgree by real time: expires_on is expires_in from a second in
// which the request was.
func TestNumbersAgree(t *testing.T) {
	handler := newHandler(t, new(source))
	before := time.Now().Unix()
	var body struct {
		In, On, Ext int64
	}
	a := serve(t, handler, asked)
	for name, n := range map[string]*int64{"expires_in": &body.In, "expires_on": &body.On, "ext_expires_in": &body.Ext} {
		_, rest, _ := strings.Cut(a.body, `"`+name+`":"`)
		digits, _, _ := strings.Cut(rest, `"`)
		var err error
		if *n, err = strconv.ParseInt(digits, 10, 64); err != nil {
			t.Fatalf("%s: %v in %s", name, err, a.body)
		}
	}
	if now := body.On - body.In; now < before || now > time.Now().Unix() || body.In != body.Ext {
		t.Errorf("asked at %d: %s", before, a.body)
	}
}
