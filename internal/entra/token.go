package entra

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
)

// maxForm is far above a form with an assertion: 2 to 4 KiB.
const maxForm = 256 << 10

// assertionType is that of JWTs (RFC 7523 section 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// serveToken is the token endpoint: one request, disturbed as tests ask.
func (s *StandIn) serveToken(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil { // before all else: net/http notices that a client left once its body is read
		s.refuse(w, r, missing("grant_type").because("reading the form: %v", err))
		return
	}
	if s.nextFault().happen(w, r) {
		s.log.Info("answered with a fault", "tenant", r.PathValue("tenant"), "correlation_id", correlationID(r), "took", time.Since(began))
		return
	}
	answer, refusal := s.exchange(r)
	line := s.log.With("tenant", r.PathValue("tenant"), "client_id", r.PostForm.Get("client_id"), "scope", r.PostForm.Get("scope"),
		"correlation_id", correlationID(r), "took", time.Since(began))
	if refusal != nil {
		line.Info("refused an assertion", "status", refusal.status, "aadsts", refusal.aadsts, "reason", refusal.text, "detail", refusal.detail)
		s.refuse(w, r, refusal)
		return
	}
	line.Info("issued an access token")
	writeJSON(w, http.StatusOK, answer)
}

// tokenAnswer is RFC 6749 section 5.1, as Entra fills it in.
type tokenAnswer struct {
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	ExtExpiresIn int64  `json:"ext_expires_in"`
	AccessToken  string `json:"access_token"`
	StandIn      string `json:"stand_in"`
}

// exchange decides on a request. The order of the checks is a choice: what the
// request says, then what the directory knows, then what the issuer publishes.
func (s *StandIn) exchange(r *http.Request) (*tokenAnswer, *refusal) {
	tenant := r.PathValue("tenant")
	form := r.PostForm
	client := form.Get("client_id")
	app, tenantKnown, known := s.app(tenant, client)
	if !tenantKnown {
		return nil, unknownTenant(tenant)
	}
	for _, parameter := range []string{"grant_type", "client_id", "scope"} {
		if form.Get(parameter) == "" {
			return nil, missing(parameter)
		}
	}
	if grant := form.Get("grant_type"); grant != "client_credentials" {
		return nil, unsupportedGrant(grant)
	}
	if !known {
		return nil, unknownApp(client, tenant)
	}
	resource, ok := resourceOf(form.Get("scope"))
	if !ok {
		return nil, badScope(form.Get("scope"))
	}
	if form.Get("client_assertion_type") != assertionType || form.Get("client_assertion") == "" {
		return nil, missingAssertion()
	}
	if refusal := s.verify(r.Context(), app, form.Get("client_assertion")); refusal != nil {
		return nil, refusal
	}
	return s.issue(app, resource)
}

// resourceOf is the resource that a scope is for. Go's MSAL sends the scopes of
// OpenID Connect beside it. A slash before the suffix belongs to the resource.
func resourceOf(scope string) (string, bool) {
	resource := ""
	for one := range strings.FieldsSeq(scope) {
		switch one {
		case "openid", "profile", "offline_access":
			continue
		}
		name, found := strings.CutSuffix(one, "/.default")
		if !found || name == "" || resource != "" {
			return "", false
		}
		resource = name
	}
	return resource, resource != ""
}

// signature is who an access token is from, and its version. As the public cloud
// the stand-in gives those of version 1.0, which Azure's own resources take from
// there, whatever endpoint they were asked for at (Azurite knows no other); under
// a name of its own, those that go with its discovery document.
func (s *StandIn) signature(tenant string) (issuer, version string) {
	if s.url == "https://login.microsoftonline.com" {
		return "https://sts.windows.net/" + tenant + "/", "1.0"
	}
	return s.issuer(tenant), "2.0"
}

// issue makes an access token with the claims of an application's (Microsoft
// identity platform, "Access token claims reference"): those of both versions,
// as the resources that read them differ.
func (s *StandIn) issue(app App, resource string) (*tokenAnswer, *refusal) {
	now := time.Now()
	issuer, version := s.signature(app.Tenant)
	token, err := jwt.Signed(s.signer).Claims(jwt.Claims{
		Issuer:    issuer,
		Subject:   app.Object,
		Audience:  jwt.Audience{resource},
		IssuedAt:  jwt.NewNumericDate(now),
		NotBefore: jwt.NewNumericDate(now),
		Expiry:    jwt.NewNumericDate(now.Add(s.lifetime)),
	}).Claims(map[string]any{
		"appid":    app.Client,
		"appidacr": "2",
		"azp":      app.Client,
		"azpacr":   "2",
		"idtyp":    "app",
		"oid":      app.Object,
		"tid":      app.Tenant,
		"uti":      newGUID(),
		"ver":      version,
		"stand_in": standIn,
	}).Serialize()
	if err != nil {
		return nil, (&refusal{status: http.StatusInternalServerError, code: "server_error", text: "Internal error."}).because("signing: %v", err)
	}
	life := int64(s.lifetime / time.Second)
	return &tokenAnswer{TokenType: "Bearer", ExpiresIn: life, ExtExpiresIn: life, AccessToken: token, StandIn: standIn}, nil
}

// Fault is what goes wrong with one token request. The zero Fault is nothing.
type Fault struct {
	// Delay passes before anything else.
	Delay time.Duration
	// Hang means that no answer comes until the client leaves.
	Hang bool
	// Cut means that the connection is closed in the middle of the answer.
	Cut bool
	// Status is answered instead of what would have been, with Header, and with
	// Body or else an error as Entra writes one; 0 means none of it.
	Status int
	Header http.Header
	Body   string
}

// Disturb sets what goes wrong with token requests: the function is called for
// each with its number, from 1 for the first after this call, and must be safe
// for concurrent use. It replaces the one before; nil means that nothing does.
func (s *StandIn) Disturb(disturb func(n int) Fault) {
	if disturb == nil {
		disturb = func(int) Fault { return Fault{} }
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests, s.disturb = 0, disturb
}

// Requests is how many token requests came since the last call of Disturb.
func (s *StandIn) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

func (s *StandIn) nextFault() Fault {
	s.mu.Lock()
	s.requests++
	n, disturb := s.requests, s.disturb
	s.mu.Unlock()
	return disturb(n)
}

// happen reports whether the fault was the answer.
func (f Fault) happen(w http.ResponseWriter, r *http.Request) bool {
	if f.Delay > 0 {
		select {
		case <-time.After(f.Delay):
		case <-r.Context().Done():
			return true
		}
	}
	switch {
	case f.Hang:
		<-r.Context().Done()
	case f.Cut:
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "1000") // net/http closes a connection that gets less
		fmt.Fprint(w, `{"token_type":"Bea`)
	case f.Status != 0:
		maps.Copy(w.Header(), f.Header)
		if f.Body == "" {
			writeJSON(w, f.Status, map[string]any{"error": "temporarily_unavailable", "error_description": "A fault on demand (" + standIn + ").", "stand_in": standIn})
			break
		}
		w.WriteHeader(f.Status)
		fmt.Fprint(w, f.Body)
	default:
		return false
	}
	return true
}
