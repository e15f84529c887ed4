// Package entra is a stand-in for the token endpoint of Microsoft Entra, for
// tests, for the demo, and for people who develop without an Azure account. It
// is not Entra, and its access tokens open nothing.
//
// What it does with a client assertion is what Entra does: it finds the
// federated credential, fetches the discovery document and the key set of the
// assertion's issuer over HTTPS, verifies signature and lifetime, and answers
// with Entra's JSON and error codes, or with a JWT that its own key set
// verifies. refusals.go has the codes, each with where it was learnt; what is
// not known of Entra, such as the order of the checks, is marked as a choice.
//
// It knows neither certificates nor secrets of applications, no users, and
// grants every scope of a known client.
package entra

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// Config is what a [StandIn] needs.
type Config struct {
	// URL is where it is reached, an https URL: access tokens and the documents
	// for them name it. [Listen] sets it if it is empty.
	URL string
	// Apps are the applications that it knows from the start.
	Apps []App
	// Roots are trusted for issuers; nil means the system's.
	Roots *x509.CertPool
	// Key signs access tokens; one is made if it is nil.
	Key *rsa.PrivateKey
	// Lifetime is that of access tokens; an hour if it is zero.
	Lifetime time.Duration
	// Keep is how long an issuer's documents are kept; an hour if it is zero. A
	// key that is not among them is looked for at once.
	Keep time.Duration
	// Log gets one line for each request. Required.
	Log *slog.Logger
}

// App is an application, or a managed identity, with its federated credentials.
type App struct {
	// Tenant and Client are its directory and client ID: GUIDs.
	Tenant, Client string
	// Object is its object ID in the directory, "oid" in access tokens; the
	// client ID if empty.
	Object      string
	Credentials []Credential
}

// Credential is a federated identity credential: what an assertion must say,
// byte for byte.
type Credential struct {
	Issuer, Subject, Audience string
}

// StandIn is the stand-in as an HTTP handler. It is safe for concurrent use.
type StandIn struct {
	// All immutable.
	url      string
	lifetime time.Duration
	keep     time.Duration
	log      *slog.Logger
	client   *http.Client // asks issuers
	signer   jose.Signer
	jwks     []byte
	routes   *http.ServeMux

	mu       sync.Mutex            // guards what follows
	apps     map[string]App        // by appKey
	issuers  map[string]*documents // by issuer
	requests int
	disturb  func(n int) Fault
}

// New returns a stand-in.
func New(config Config) (*StandIn, error) {
	if !strings.HasPrefix(config.URL, "https://") {
		return nil, fmt.Errorf("URL of the Entra stand-in %q: want https", config.URL)
	}
	s := &StandIn{
		url:      strings.ToLower(strings.TrimRight(config.URL, "/")), // all of it is a host
		lifetime: orHour(config.Lifetime),
		keep:     orHour(config.Keep),
		log:      config.Log,
		client:   issuerClient(config.Roots),
		routes:   http.NewServeMux(),
		apps:     make(map[string]App),
		issuers:  make(map[string]*documents),
		disturb:  func(int) Fault { return Fault{} },
	}
	if err := s.setKey(config.Key); err != nil {
		return nil, err
	}
	for _, app := range config.Apps {
		if err := s.Register(app); err != nil {
			return nil, err
		}
	}
	s.routes.HandleFunc("POST /{tenant}/oauth2/v2.0/token", s.serveToken)
	s.routes.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", s.serveDiscovery)
	s.routes.HandleFunc("GET /{tenant}/discovery/v2.0/keys", s.serveKeys)
	s.routes.HandleFunc("GET /common/discovery/instance", s.serveInstance)
	s.routes.HandleFunc("GET "+healthPath, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	return s, nil
}

func orHour(d time.Duration) time.Duration {
	if d == 0 {
		return time.Hour
	}
	return d
}

func (s *StandIn) setKey(private *rsa.PrivateKey) (err error) {
	if private == nil {
		if private, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return fmt.Errorf("making the key of the Entra stand-in: %w", err)
		}
	}
	key, err := keys.New(private.Public())
	if err != nil {
		return err
	}
	set, err := keys.NewSet(key)
	if err != nil {
		return err
	}
	if s.jwks, err = set.JWKS(); err != nil {
		return err
	}
	s.signer, err = jose.NewSigner(
		jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: private, KeyID: key.ID}},
		new(jose.SignerOptions).WithType("JWT"),
	)
	return err
}

// Register makes an application known, with all its credentials, in the place
// of what was known of it.
func (s *StandIn) Register(app App) error {
	if app.Tenant == "" || app.Client == "" {
		return errors.New("application of the Entra stand-in: tenant and client ID are required")
	}
	for _, credential := range app.Credentials {
		if _, err := oidc.ParseIssuer(credential.Issuer); err != nil {
			return fmt.Errorf("federated credential of client ID %q: %w", app.Client, err)
		}
		if credential.Subject == "" || credential.Audience == "" {
			return fmt.Errorf("federated credential of client ID %q: subject and audience are required", app.Client)
		}
	}
	if app.Object == "" {
		app.Object = app.Client
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	app.Credentials = slices.Clone(app.Credentials)
	s.apps[appKey(app.Tenant, app.Client)] = app
	return nil
}

// appKey ignores the case of GUIDs.
func appKey(tenant, client string) string { return strings.ToLower(tenant + "/" + client) }

// app returns the application, and whether at least the tenant is known.
func (s *StandIn) app(tenant, client string) (app App, tenantKnown, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	app, known = s.apps[appKey(tenant, client)]
	for _, other := range s.apps {
		tenantKnown = tenantKnown || strings.EqualFold(other.Tenant, tenant)
	}
	return app, tenantKnown, known
}

// ServeHTTP implements http.Handler.
func (s *StandIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Stand-In", standIn)
	w.Header().Set("Cache-Control", "no-store")
	// Of a token request there is more to say, and who knows it says it.
	if r.Method == http.MethodGet && r.URL.Path != healthPath {
		_, route := s.routes.Handler(r)
		s.log.Info("was asked", "path", r.URL.Path, "known", route != "")
	}
	s.routes.ServeHTTP(w, r)
}

// healthPath is for probes. It is not logged, and Entra does not have it.
const healthPath = "/healthz"

// standIn is in every answer, so that nobody takes it for Entra's.
const standIn = "issuer-sync's stand-in, not Microsoft Entra"

// issuer is the issuer of the access tokens of a tenant.
func (s *StandIn) issuer(tenant string) string { return s.url + "/" + tenant + "/v2.0" }

// serveDiscovery answers what MSAL asks before it asks for a token, and what
// verifies access tokens.
func (s *StandIn) serveDiscovery(w http.ResponseWriter, r *http.Request) {
	tenant := r.PathValue("tenant")
	if _, known, _ := s.app(tenant, ""); !known {
		s.refuse(w, r, unknownTenant(tenant))
		return
	}
	base := s.url + "/" + tenant
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                                s.issuer(tenant),
		"token_endpoint":                        base + "/oauth2/v2.0/token",
		"authorization_endpoint":                base + "/oauth2/v2.0/authorize",
		"jwks_uri":                              base + "/discovery/v2.0/keys",
		"response_types_supported":              []string{"id_token"},
		"subject_types_supported":               []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"token_endpoint_auth_methods_supported": []string{"private_key_jwt"},
		"stand_in":                              standIn,
	})
}

func (s *StandIn) serveKeys(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Write(s.jwks) //nolint:errcheck // the client is gone; net/http closes the connection
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	w.Write(body) //nolint:errcheck // the client is gone; net/http closes the connection
}
