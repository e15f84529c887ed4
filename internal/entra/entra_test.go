package entra_test

import (
	"crypto/elliptic"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	goidc "github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/entra"
	"github.com/issuer-sync/issuer-sync/internal/keytest"
)

// newStandIn is a stand-in as a handler, that trusts the cluster.
func newStandIn(t testing.TB, c *cluster) *entra.StandIn {
	t.Helper()
	s, err := entra.New(entra.Config{
		URL: "https://standin.example/", Key: keytest.RSA(t, 9), Apps: []entra.App{c.app()}, Roots: c.roots(), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAccessToken(t *testing.T) {
	c := newCluster(t)
	server := run(t, entra.Config{Apps: []entra.App{c.app()}, Roots: c.roots(), Lifetime: 90 * time.Minute})
	a := post(t, server, tokenPath, form(c.mint(t, 1)))
	if a.status != http.StatusOK || a.TokenType != "Bearer" || a.ExpiresIn != 5400 || a.Extended != 5400 {
		t.Fatalf("got %d %s", a.status, a.raw)
	}
	ctx := goidc.ClientContext(t.Context(), trusting(t, server))
	provider, err := goidc.NewProvider(ctx, server.URL()+"/"+tenant+"/v2.0")
	if err != nil {
		t.Fatal(err)
	}
	verified, err := provider.VerifierContext(ctx, &goidc.Config{ClientID: "https://vault.azure.net"}).Verify(ctx, a.AccessToken)
	if err != nil {
		t.Fatalf("the access token does not verify by the stand-in's documents: %v", err)
	}
	var claims map[string]any
	if err := verified.Claims(&claims); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"iss": server.URL() + "/" + tenant + "/v2.0", "aud": "https://vault.azure.net", "sub": object, "oid": object,
		"appid": client, "azp": client, "tid": tenant, "idtyp": "app", "stand_in": "issuer-sync's stand-in, not Microsoft Entra",
	} {
		if claims[name] != want {
			t.Errorf("claim %q is %v; want %v", name, claims[name], want)
		}
	}
	if life := verified.Expiry.Sub(verified.IssuedAt); life != 90*time.Minute {
		t.Errorf("it lives %v; want 90m", life)
	}
}

func TestAudienceIsTheResourceExactly(t *testing.T) {
	c := newCluster(t)
	s := newStandIn(t, c)
	for scope, want := range map[string]string{
		"https://management.azure.com//.default":           "https://management.azure.com/",
		"api://app/.default openid offline_access profile": "api://app",
		"33333333-3333-3333-3333-333333333333/.default":    "33333333-3333-3333-3333-333333333333",
		"":                                      "",
		"https://vault.azure.net":               "",
		"/.default":                             "",
		"openid":                                "",
		"https://a/.default https://b/.default": "",
	} {
		f := form(c.mint(t, 1))
		f.Set("scope", scope)
		a := post(t, s, tokenPath, f)
		if want == "" {
			code := 1002012
			if scope == "" {
				code = 900144
			}
			if a.status != http.StatusBadRequest || !cmp.Equal(a.Codes, []int{code}) {
				t.Errorf("scope %q: got %d %s; want %d", scope, a.status, a.raw, code)
			}
			continue
		}
		token, err := jwt.ParseSigned(a.AccessToken, []jose.SignatureAlgorithm{jose.RS256})
		if err != nil {
			t.Fatal(err)
		}
		var claims jwt.Claims
		if err := token.UnsafeClaimsWithoutVerification(&claims); err != nil || !cmp.Equal(claims.Audience, jwt.Audience{want}) {
			t.Errorf("scope %q: audience %q, %v; want %q", scope, claims.Audience, err, want)
		}
	}
}

// TestRefusals has every code, and what brings it about.
func TestRefusals(t *testing.T) {
	c := newCluster(t)
	hour := func(from time.Duration) func(*jwt.Claims) {
		return func(claims *jwt.Claims) {
			claims.NotBefore = jwt.NewNumericDate(time.Now().Add(from))
			claims.Expiry = jwt.NewNumericDate(time.Now().Add(from + time.Hour))
		}
	}
	unchanged := func(url.Values) {}
	set := func(name, value string) func(url.Values) { return func(f url.Values) { f.Set(name, value) } }
	ec := keytest.EC(t, elliptic.P256())
	s := newStandIn(t, c)
	for name, test := range map[string]struct {
		path      string
		assertion string
		change    func(url.Values)
		status    int
		code      string
		aadsts    int
		text      string
	}{
		"another tenant": {
			path: "/" + object + "/oauth2/v2.0/token", assertion: c.mint(t, 1), change: unchanged,
			status: 400, code: "invalid_request", aadsts: 90002, text: "Tenant '" + object + "' not found.",
		},
		"no grant type": {
			assertion: c.mint(t, 1), change: func(f url.Values) { f.Del("grant_type") },
			status: 400, code: "invalid_request", aadsts: 900144, text: "'grant_type'",
		},
		"no client ID": {
			assertion: c.mint(t, 1), change: func(f url.Values) { f.Del("client_id") },
			status: 400, code: "invalid_request", aadsts: 900144, text: "'client_id'",
		},
		"another grant type": {
			assertion: c.mint(t, 1), change: set("grant_type", "password"),
			status: 400, code: "unsupported_grant_type", aadsts: 70003, text: "'password'",
		},
		"another client ID": {
			assertion: c.mint(t, 1), change: set("client_id", object),
			status: 400, code: "unauthorized_client", aadsts: 700016,
			text: "Application with identifier '" + object + "' was not found in the directory '" + tenant + "'.",
		},
		"no assertion": {
			assertion: "", change: unchanged,
			status: 401, code: "invalid_client", aadsts: 7000218, text: "'client_assertion' or 'client_secret'",
		},
		"another assertion type": {
			assertion: c.mint(t, 1), change: set("client_assertion_type", "saml"),
			status: 401, code: "invalid_client", aadsts: 7000218, text: "'client_assertion' or 'client_secret'",
		},
		"no JWT": {
			assertion: "junk", change: unchanged,
			status: 400, code: "invalid_request", aadsts: 50027, text: "JWT token is invalid or malformed.",
		},
		"an unsigned JWT": {
			assertion: "eyJhbGciOiJub25lIn0.e30.", change: unchanged,
			status: 400, code: "invalid_request", aadsts: 50027, text: "JWT token is invalid or malformed.",
		},
		"ES256": {
			assertion: sign(t, ec, jose.ES256, published(t, ec.Public()).ID, c.claims()), change: unchanged,
			status: 400, code: "invalid_request", aadsts: 5002738, text: "'ES256' is not a supported signature algorithm.",
		},
		"RS512": {
			assertion: sign(t, keytest.RSA(t, 1), jose.RS512, keytest.Key(t, 1).ID, c.claims()), change: unchanged,
			status: 400, code: "invalid_request", aadsts: 5002738, text: "'RS512' is not a supported signature algorithm.",
		},
		"the issuer with a slash": {
			assertion: c.mint(t, 1, func(claims *jwt.Claims) { claims.Issuer += "/" }), change: unchanged,
			status: 401, code: "invalid_client", aadsts: 700211, text: "presented assertion issuer '" + c.issuer.String() + "/'",
		},
		"another subject": {
			assertion: c.mint(t, 1, func(claims *jwt.Claims) { claims.Subject = "system:serviceaccount:a:b" }), change: unchanged,
			status: 401, code: "invalid_client", aadsts: 700213, text: "presented assertion subject 'system:serviceaccount:a:b'",
		},
		"the subject in another case": {
			assertion: c.mint(t, 1, func(claims *jwt.Claims) { claims.Subject = strings.ToUpper(pod) }), change: unchanged,
			status: 401, code: "invalid_client", aadsts: 7002138, text: "matches with case-insensitive comparison",
		},
		"another audience": {
			assertion: c.mint(t, 1, func(claims *jwt.Claims) { claims.Audience = jwt.Audience{"sts.amazonaws.com"} }), change: unchanged,
			status: 401, code: "invalid_client", aadsts: 700212, text: "presented assertion audience 'sts.amazonaws.com'",
		},
		"two audiences": {
			assertion: c.mint(t, 1, func(claims *jwt.Claims) { claims.Audience = jwt.Audience{audience, "other"} }), change: unchanged,
			status: 401, code: "invalid_client", aadsts: 700212, text: "presented assertion audience '" + audience + " other'",
		},
		"no audience": {
			assertion: c.mint(t, 1, func(claims *jwt.Claims) { claims.Audience = nil }), change: unchanged,
			status: 401, code: "invalid_client", aadsts: 700212, text: "presented assertion audience ''",
		},
		"a key that is not published": {
			assertion: c.mint(t, 2), change: unchanged,
			status: 401, code: "invalid_client", aadsts: 7000272, text: keytest.Key(t, 2).ID,
		},
		"a signature of another key": {
			assertion: sign(t, keytest.RSA(t, 2), jose.RS256, keytest.Key(t, 1).ID, c.claims()), change: unchanged,
			status: 401, code: "invalid_client", aadsts: 700027, text: "contains an invalid signature",
		},
		"expired": {
			assertion: c.mint(t, 1, hour(-time.Hour-time.Second)), change: unchanged,
			status: 401, code: "invalid_client", aadsts: 700024, text: "not within its valid time range",
		},
		"not valid for six minutes": {
			assertion: c.mint(t, 1, hour(6*time.Minute)), change: unchanged,
			status: 401, code: "invalid_client", aadsts: 700024, text: "not within its valid time range",
		},
		"never expires": {
			assertion: c.mint(t, 1, func(claims *jwt.Claims) { claims.Expiry, claims.NotBefore = nil, nil }), change: unchanged,
			status: 401, code: "invalid_client", aadsts: 700024, text: "not within its valid time range",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := form(test.assertion)
			test.change(f)
			path := test.path
			if path == "" {
				path = tokenPath
			}
			refused(t, post(t, s, path, f), test.status, test.code, test.aadsts, test.text)
		})
	}
}

// refused wants an answer in the form of Entra's.
func refused(t *testing.T, a answered, status int, code string, aadsts int, text string) {
	t.Helper()
	if a.status != status || a.Code != code || !cmp.Equal(a.Codes, []int{aadsts}) || !strings.Contains(a.Description, text) {
		t.Errorf("got %d %s; want %d, %q, [%d], %q", a.status, a.raw, status, code, aadsts, text)
	}
	if a.Correlation != object || a.header.Get("Client-Request-Id") != object || len(a.Trace) != 36 {
		t.Errorf("correlation ID %q, header %q, trace ID %q; want %q", a.Correlation, a.header.Get("Client-Request-Id"), a.Trace, object)
	}
	if !strings.Contains(a.StandIn, "not Microsoft Entra") || !strings.Contains(a.Description, "not Microsoft Entra") ||
		!strings.Contains(a.header.Get("X-Stand-In"), "not Microsoft Entra") {
		t.Errorf("the answer does not say that it is a stand-in's: %v %s", a.header, a.raw)
	}
}

func TestTolerance(t *testing.T) {
	c := newCluster(t)
	almost := c.mint(t, 1, func(claims *jwt.Claims) { claims.NotBefore = jwt.NewNumericDate(time.Now().Add(4 * time.Minute)) })
	if a := post(t, newStandIn(t, c), tokenPath, form(almost)); a.status != http.StatusOK {
		t.Errorf("four minutes early: got %d %s; want 200", a.status, a.raw)
	}
}

func TestAppWithoutCredentials(t *testing.T) {
	c := newCluster(t)
	s := newStandIn(t, c)
	app := c.app()
	app.Credentials = nil
	if err := s.Register(app); err != nil {
		t.Fatal(err)
	}
	refused(t, post(t, s, tokenPath, form(c.mint(t, 1))), 401, "invalid_client", 70021,
		"Assertion Issuer: '"+c.issuer.String()+"'. Assertion Subject: '"+pod+"'. Assertion Audience: '"+audience+"'.")
	app = c.app()
	if err := s.Register(app); err != nil {
		t.Fatal(err)
	}
	app.Credentials[0].Subject = "what the caller does with it later is the caller's"
	if a := post(t, s, tokenPath, form(c.mint(t, 1))); a.status != http.StatusOK {
		t.Errorf("with the credential: got %d %s", a.status, a.raw)
	}
}

// The three must be of one credential.
func TestCredentialsAreNotMixed(t *testing.T) {
	c := newCluster(t)
	s := newStandIn(t, c)
	app := c.app()
	app.Credentials = []entra.Credential{
		{Issuer: c.issuer.String(), Subject: pod, Audience: "other"},
		{Issuer: c.issuer.String(), Subject: "other", Audience: audience},
		{Issuer: "https://other.example", Subject: pod, Audience: audience},
	}
	if err := s.Register(app); err != nil {
		t.Fatal(err)
	}
	refused(t, post(t, s, tokenPath, form(c.mint(t, 1))), 401, "invalid_client", 700212, "audience '"+audience+"'")
}

// TestIssuerIsAtFault has what an issuer may do wrong.
func TestNewAndRegisterRefuse(t *testing.T) {
	c := newCluster(t)
	s := newStandIn(t, c)
	for name, test := range map[string]struct {
		change func(*entra.App)
		want   string
	}{
		"no tenant": {func(a *entra.App) { a.Tenant = "" }, "application of the Entra stand-in: tenant and client ID are required"},
		"no TLS": {
			func(a *entra.App) { a.Credentials[0].Issuer = "http://issuer.example" },
			`federated credential of client ID "` + client + `": issuer "http://issuer.example": scheme must be https, in lower case`,
		},
		"no subject": {
			func(a *entra.App) { a.Credentials[0].Subject = "" },
			`federated credential of client ID "` + client + `": subject and audience are required`,
		},
	} {
		app := c.app()
		test.change(&app)
		if err := s.Register(app); err == nil || err.Error() != test.want {
			t.Errorf("%s: got error %v; want %s", name, err, test.want)
		}
		_, err := entra.New(entra.Config{URL: "https://standin.example", Key: keytest.RSA(t, 9), Apps: []entra.App{app}, Log: slog.New(slog.DiscardHandler)})
		if err == nil || err.Error() != test.want {
			t.Errorf("%s: New: got error %v; want %s", name, err, test.want)
		}
	}
	_, err := entra.New(entra.Config{URL: "http://standin.example"})
	if want := `URL of the Entra stand-in "http://standin.example": want https`; err == nil || err.Error() != want {
		t.Errorf("got error %v; want %s", err, want)
	}
}

func TestListenRefuses(t *testing.T) {
	for address, want := range map[string]string{
		"0.0.0.0:0":      `address of the Entra stand-in "0.0.0.0:0": want loopback, such as 127.0.0.1:0`,
		"[::]:0":         `address of the Entra stand-in "[::]:0": want loopback, such as 127.0.0.1:0`,
		"192.0.2.1:443":  `address of the Entra stand-in "192.0.2.1:443": want loopback, such as 127.0.0.1:0`,
		":8443":          `address of the Entra stand-in ":8443": want loopback, such as 127.0.0.1:0`,
		"localhost:8443": `address of the Entra stand-in "localhost:8443": want IP:port, such as 127.0.0.1:0`,
		"127.0.0.1":      `address of the Entra stand-in "127.0.0.1": want IP:port, such as 127.0.0.1:0`,
	} {
		_, err := entra.Listen(t.Context(), entra.ListenConfig{Address: address}, entra.Config{Log: slog.New(slog.DiscardHandler)})
		if err == nil || err.Error() != want {
			t.Errorf("got error %v; want %s", err, want)
		}
	}
	// Told to, it tries: nobody has this address, so that nothing listens in the end.
	_, err := entra.Listen(t.Context(), entra.ListenConfig{Address: "192.0.2.1:443", Anywhere: true}, entra.Config{Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.HasPrefix(err.Error(), `listening for the Entra stand-in on "192.0.2.1:443": `) {
		t.Errorf("got error %v; want that it cannot listen there", err)
	}
}

func TestOtherPathsAndMethods(t *testing.T) {
	c := newCluster(t)
	s := newStandIn(t, c)
	for target, want := range map[string]int{
		"GET " + tokenPath: http.StatusMethodNotAllowed,
		"GET /":            http.StatusNotFound,
		"GET /" + tenant + "/v2.0/.well-known/openid-configuration": http.StatusOK,
		"GET /" + object + "/v2.0/.well-known/openid-configuration": http.StatusBadRequest,
		"GET /" + tenant + "/discovery/v2.0/keys":                   http.StatusOK,
		"GET /metadata/identity/oauth2/token":                       http.StatusNotFound,
	} {
		method, path, _ := strings.Cut(target, " ")
		recorder := httptest.NewRecorder()
		s.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), method, path, nil))
		if recorder.Code != want || recorder.Header().Get("X-Stand-In") == "" {
			t.Errorf("%s: got %d %v; want %d", target, recorder.Code, recorder.Header(), want)
		}
	}
}

func TestCorrelationID(t *testing.T) {
	c := newCluster(t)
	s := newStandIn(t, c)
	for _, test := range []struct{ header, query, want string }{
		{object, "", object},
		{"", object, object}, // MSAL for JavaScript
		{"", "", ""},
		{"1234-abcd", "", ""},
		{strings.Repeat("x", 36), "", ""},
	} {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, tokenPath+"?client-request-id="+test.query, http.NoBody)
		request.Header.Set("Client-Request-Id", test.header)
		recorder := httptest.NewRecorder()
		s.ServeHTTP(recorder, request)
		a := read(t, recorder.Code, recorder.Header(), recorder.Body)
		if a.Correlation != test.want || a.header.Get("Client-Request-Id") != "" { // it did not ask for it
			t.Errorf("header %q, query %q: got %q, header %q; want %q", test.header, test.query, a.Correlation, a.header, test.want)
		}
	}
}

func TestHugeForm(t *testing.T) {
	c := newCluster(t)
	f := form(c.mint(t, 1))
	f.Set("padding", strings.Repeat("x", 300<<10))
	refused(t, post(t, newStandIn(t, c), tokenPath, f), 400, "invalid_request", 900144, "'grant_type'")
}

func TestDefaults(t *testing.T) {
	c := newCluster(t)
	app := c.app()
	app.Object = ""
	s, err := entra.New(entra.Config{URL: "https://standin.example", Apps: []entra.App{app}, Roots: c.roots(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	a := post(t, s, tokenPath, form(c.mint(t, 1)))
	if a.status != http.StatusOK || a.ExpiresIn != 3600 {
		t.Fatalf("got %d %s; want 200, and an hour", a.status, a.raw)
	}
	token, err := jwt.ParseSigned(a.AccessToken, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	var claims jwt.Claims
	if err := token.UnsafeClaimsWithoutVerification(&claims); err != nil || claims.Subject != client {
		t.Errorf("subject %q, %v; want the client ID", claims.Subject, err)
	}
}
