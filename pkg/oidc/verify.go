package oidc

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// Status is the outcome of a [Check].
type Status string

// The outcomes. Only [Fail] means that a relying party would refuse tokens.
const (
	Pass Status = "PASS"
	Warn Status = "WARN" // works, but not for everybody, not for long, or not well
	Fail Status = "FAIL"
	Skip Status = "SKIP" // not judged; Detail says why
)

// Check is one thing that a relying party looks at. Its texts are single lines
// and hold nothing secret.
type Check struct {
	// Name is stable: what is looked at and which property, such as
	// "jwks: caching", or a relying party and its rule, such as "aws: port".
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Subject is the key ID, or the place in the set, where a check is made for each key.
	Subject string `json:"subject,omitempty"`
	// Detail is what was found.
	Detail string `json:"detail"`
	// Cure is what to do. It is there whenever Status is Warn or Fail.
	Cure string `json:"cure,omitempty"`
	// PublicHost marks what only an issuer on a public host, with a
	// certificate from a public CA, can pass; on a laptop it is no fault.
	PublicHost bool `json:"publicHost,omitempty"`
}

// String returns the check as one line.
func (c Check) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-4s  %s", c.Status, c.Name)
	if c.Subject != "" {
		fmt.Fprintf(&b, " %s", c.Subject)
	}
	fmt.Fprintf(&b, ": %s", c.Detail)
	if c.Cure != "" {
		fmt.Fprintf(&b, " -> %s", c.Cure)
	}
	return b.String()
}

// Report is what [Verify] found. Its JSON form is stable.
type Report struct {
	Issuer string    `json:"issuer"`
	Time   time.Time `json:"time"`
	// Checks are in the order of dependency: what a check needs was checked before it.
	Checks []Check `json:"checks"`

	// Discovery and JWKS are the documents as a stranger gets them; without a
	// Path if they could not be had.
	Discovery Object `json:"-"`
	JWKS      Object `json:"-"`
	// Keys are the usable keys in JWKS; empty if two of them share an ID.
	Keys keys.Set `json:"-"`
}

// Failed reports whether a check failed.
func (r Report) Failed() bool {
	return slices.ContainsFunc(r.Checks, func(c Check) bool { return c.Status == Fail })
}

// RelyingParty names a cloud that accepts service account tokens.
type RelyingParty string

// The clouds whose limits are known.
const (
	Entra RelyingParty = "entra" // Microsoft Entra ID, federated identity credentials
	AWS   RelyingParty = "aws"   // AWS IAM, OIDC identity providers
	GCP   RelyingParty = "gcp"   // Google Cloud, workload identity pools
)

// ParseRelyingParty returns the relying party of that name.
func ParseRelyingParty(name string) (RelyingParty, error) {
	switch party := RelyingParty(name); party {
	case Entra, AWS, GCP:
		return party, nil
	default:
		return "", fmt.Errorf("relying party %q: want %s, %s or %s", name, Entra, AWS, GCP)
	}
}

// VerifyOptions says what to check beyond the general rules. The zero value is
// ready to use.
type VerifyOptions struct {
	// RelyingParties are those whose limits are checked too.
	RelyingParties []RelyingParty

	// Token is a service account token to check against the documents; empty:
	// none. Of its content only issuer, subject, audience, times, key ID and
	// algorithm ever show up in the report.
	Token string
	// Audience must be among the token's. Empty: the token must have exactly
	// one, which is shown.
	Audience string

	// Roots are trusted instead of PublicRoots, for a private CA; nil: none.
	// What only they trust is a warning, because no cloud trusts it.
	Roots *x509.CertPool
	// PublicRoots are what clouds trust; nil: the system's.
	PublicRoots *x509.CertPool
	// BaseURL stands in for the issuer when documents below it are fetched,
	// for an issuer that is seen under another address from here. It may be
	// http. Empty: the issuer itself.
	BaseURL string

	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Dial makes connections, without any proxy; nil: directly, or through the
	// environment's proxy.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Lookup resolves a host, only to tell public from private ones; nil: the
	// system's resolver.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

// Verify fetches the issuer's documents as a stranger would - without
// credentials, cookies or redirects - and checks what relying parties check.
// It returns no error: whatever goes wrong is a check that fails.
//
// It makes at most one request for each document, of at most 10 s and 1 MiB.
// It is safe for concurrent use.
func Verify(ctx context.Context, issuer Issuer, options VerifyOptions) Report {
	if options.Now == nil {
		options.Now = time.Now
	}
	v := look(ctx, issuer, options)
	report := Report{Issuer: issuer.String(), Time: v.now, Keys: v.set}
	if v.discovery.usable() {
		report.Discovery = v.discovery.object(DiscoveryPath)
	}
	if v.jwks.usable() {
		report.JWKS = v.jwks.object(JWKSPath)
	}
	v.judge(&report)
	return report
}

// view is what a stranger sees of an issuer, gathered before anything is
// judged. The checks are pure functions of it.
type view struct {
	issuer  Issuer
	options VerifyOptions
	now     time.Time

	discovery     fetched
	metadata      metadata
	metadataFault error
	jwks          fetched
	entries       []publishedKey
	entriesFault  error
	set           keys.Set
	hosts         []resolved
	token         token
	tokenFault    error
}

func look(ctx context.Context, issuer Issuer, options VerifyOptions) *view {
	v := &view{issuer: issuer, options: options, now: options.Now()}
	fetch := newFetcher(options)
	defer fetch.client.CloseIdleConnections() // net/http goes on connecting for a request that ended; this ends that too
	v.discovery = fetch.get(ctx, v.address(issuer.DiscoveryURL()), discoveryType)
	if v.discovery.usable() {
		v.metadata, v.metadataFault = parseMetadata(v.discovery.body)
	}
	if v.discovery.usable() && v.metadataFault == nil && v.jwksURI().status != Fail {
		v.jwks = fetch.get(ctx, v.address(v.metadata.jwksURI), jwksType, discoveryType)
	}
	if v.jwks.usable() {
		v.entries, v.entriesFault = splitKeys(v.jwks.body)
		v.set, _ = keys.NewSet(usableKeys(v.entries)...) // a clash is reported by the check of the key IDs
	}
	if len(options.RelyingParties) > 0 {
		v.hosts = resolve(ctx, options, issuer.String(), v.jwks.url)
	}
	if options.Token != "" {
		v.token, v.tokenFault = parseToken(options.Token)
	}
	return v
}

// address is where a document is fetched that the issuer says is at url.
func (v *view) address(url string) string {
	below, found := strings.CutPrefix(url, v.issuer.base()+"/")
	if v.options.BaseURL == "" || !found {
		return url
	}
	return strings.TrimSuffix(v.options.BaseURL, "/") + "/" + below
}

func (v *view) judge(report *Report) {
	discovery := sequence{report: report, prefix: "discovery"}
	discovery.document(v.discovery)
	discovery.gate("strict JSON", v.strictDiscovery)
	discovery.check("issuer", v.exactIssuer)
	discovery.check("required members", v.requiredMembers)
	discovery.gate("jwks_uri", v.jwksURI)

	jwks := sequence{report: report, prefix: "jwks", needs: discovery.needs}
	jwks.document(v.jwks)
	jwks.check("strict JSON", v.strictJWKS)
	if v.entriesFault != nil {
		jwks.block("strict JSON")
	}
	entries := jwks.needs
	v.judgeKeys(&jwks)

	if account, _ := azureStorage(hostname(v.issuer.String())); account != "" {
		storage := sequence{report: report, prefix: "storage"}
		storage.check("delete lock", func() verdict { return deleteLock(account) })
	}
	tokens := sequence{report: report, prefix: "token"}
	if v.options.Token != "" {
		v.judgeToken(&tokens, jwks.needs)
	}
	for _, party := range v.options.RelyingParties {
		judgeParty(party, partyChecks{
			v:       v,
			plain:   sequence{report: report, prefix: string(party)},
			entries: sequence{report: report, prefix: string(party), needs: entries},
			usable:  sequence{report: report, prefix: string(party), needs: jwks.needs},
			claims:  sequence{report: report, prefix: string(party), needs: tokens.needs},
		})
	}
}
