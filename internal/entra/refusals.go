package entra

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
)

// refusal is one answer that is no access token. Texts are Entra's as far as
// users have reported them, so that what people search for is found.
type refusal struct {
	status int
	code   string // OAuth error
	aadsts int
	text   string
	// detail is for people who develop: what the stand-in saw, which Entra does
	// not tell.
	detail string
}

// because returns the refusal with a detail.
func (r *refusal) because(format string, args ...any) *refusal {
	r.detail = fmt.Sprintf(format, args...)
	return r
}

func badRequest(aadsts int, format string, args ...any) *refusal {
	return &refusal{status: http.StatusBadRequest, code: "invalid_request", aadsts: aadsts, text: fmt.Sprintf(format, args...)}
}

// badClient has status 401, as external-secrets/external-secrets#2783 shows for
// 70021 and Microsoft's page on AADSTS7000218 for that.
func badClient(aadsts int, format string, args ...any) *refusal {
	return &refusal{status: http.StatusUnauthorized, code: "invalid_client", aadsts: aadsts, text: fmt.Sprintf(format, args...)}
}

// Microsoft's list of codes; MSAL.NET has the text in its AadErrors.
func unknownTenant(tenant string) *refusal {
	return badRequest(90002, "Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.", tenant)
}

// Microsoft's list of codes: UnknownOrInvalidInstance; MSAL for Python compares
// the error.
func unknownInstance() *refusal {
	r := badRequest(50049, "Unknown or invalid instance.")
	r.code = "invalid_instance"
	return r
}

// Microsoft's list of codes.
func missing(parameter string) *refusal {
	return badRequest(900144, "The request body must contain the following parameter: '%s'.", parameter)
}

// Microsoft's list of codes: UnsupportedGrantType.
func unsupportedGrant(grant string) *refusal {
	r := badRequest(70003, "The app requested an unsupported grant type '%s'.", grant)
	r.code = "unsupported_grant_type"
	return r
}

// MicrosoftDocs/azure-docs#21690 has the text; RFC 6749 section 5.2 the error.
func unknownApp(client, tenant string) *refusal {
	r := badRequest(700016, "Application with identifier '%s' was not found in the directory '%s'. "+
		"You may have sent your authentication request to the wrong tenant.", client, tenant)
	r.code = "unauthorized_client"
	return r
}

// Reported by users of daemons on Microsoft Graph; RFC 6749 section 5.2.
func badScope(scope string) *refusal {
	r := badRequest(1002012, "The provided value for scope %s is not valid. "+
		"Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).", scope)
	r.code = "invalid_scope"
	return r
}

// Microsoft's list of codes.
func missingAssertion() *refusal {
	return badClient(7000218, "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.")
}

// Microsoft's list of codes: InvalidJwtToken; microsoft-identity-web's tests
// have status and error.
func malformed() *refusal { return badRequest(50027, "JWT token is invalid or malformed.") }

// AzureAD/microsoft-identity-web#3467 reports it for ES256.
func badAlgorithm(algorithm string) *refusal {
	return badRequest(5002738, "Invalid JWT token. '%s' is not a supported signature algorithm. Supported signing algorithms are: 'RS256'", algorithm)
}

// Azure/azure-workload-identity#977, external-secrets/external-secrets#2783.
func noCredential(c jwt.Claims) *refusal {
	return badClient(70021, "No matching federated identity record found for presented assertion. "+
		"Assertion Issuer: '%s'. Assertion Subject: '%s'. Assertion Audience: '%s'.", c.Issuer, c.Subject, strings.Join(c.Audience, " "))
}

// otherIssuer, otherAudience and otherSubject: Azure/azure-workload-identity#1200
// (700211, 700213); azidentity's troubleshooting guide (700212).
func otherIssuer(c jwt.Claims) *refusal { return noRecord(700211, "issuer", c.Issuer, "") }

func otherAudience(c jwt.Claims) *refusal {
	return noRecord(700212, "audience", strings.Join(c.Audience, " "), "")
}

func otherSubject(c jwt.Claims) *refusal { return noRecord(700213, "subject", c.Subject, "") }

// otherCase: Azure/login#515.
func otherCase(c jwt.Claims) *refusal {
	return noRecord(7002138, "subject", c.Subject, "The subject matches with case-insensitive comparison, but not with case-sensitive comparison. ")
}

func noRecord(aadsts int, claim, value, remark string) *refusal {
	return badClient(aadsts, "No matching federated identity record found for presented assertion %s '%s'. %s"+
		"Check your federated identity credential Subject, Audience and Issuer against the presented assertion.", claim, value, remark)
}

// Azure/azure-workload-identity#605. Users have met 90061 and 50166 with the
// same words; that the one is for the discovery document and the other for the
// key set is a choice made here.
func noDiscovery() *refusal { return badRequest(90061, "Request to External OIDC endpoint failed.") }

// Azure/azure-workload-identity#642.
func noKeySet() *refusal { return badRequest(50166, "Request to External OIDC endpoint failed.") }

// Reported by users of external-secrets.
func badKeySet() *refusal { return badRequest(900612, "Failed to parse provider signing keys.") }

// Azure/azure-workload-identity#1232.
func unknownKey(keyID, issuer string) *refusal {
	return badClient(7000272, "The certificate with identifier %s used to sign the federated credential could not be found in the metadata of identity provider %s. "+
		"Please validate that your Identity Provider's metadata exposes the key used to sign the incoming token.", keyID, issuer)
}

// Microsoft's list of codes; azidentity's troubleshooting guide.
func badSignature() *refusal {
	return badClient(700027, "Client assertion contains an invalid signature.")
}

// Azure/login#180, AzureAD/microsoft-authentication-library-for-dotnet#4951.
func badTime(now time.Time, c jwt.Claims) *refusal {
	const layout = "2006-01-02T15:04:05.0000000Z"
	date := func(d *jwt.NumericDate) string { return d.Time().UTC().Format(layout) }
	return badClient(700024, "Client assertion is not within its valid time range. Current time: %s, assertion valid from %s, expiry time of assertion %s.",
		now.UTC().Format(layout), date(c.NotBefore), date(c.Expiry))
}

// refuse answers as Entra does, with a member that says who answers.
func (s *StandIn) refuse(w http.ResponseWriter, r *http.Request, refusal *refusal) {
	const layout = "2006-01-02 15:04:05Z"
	now := time.Now().UTC().Format(layout)
	trace, correlation := newGUID(), correlationID(r)
	said := standIn
	if refusal.detail != "" {
		said += ": " + refusal.detail
	}
	if correlation != "" && r.Header.Get("Return-Client-Request-Id") == "true" {
		w.Header().Set("Client-Request-Id", correlation)
	}
	writeJSON(w, refusal.status, map[string]any{
		"error": refusal.code,
		"error_description": fmt.Sprintf("AADSTS%d: %s (%s) Trace ID: %s Correlation ID: %s Timestamp: %s",
			refusal.aadsts, refusal.text, standIn, trace, correlation, now),
		"error_codes":    []int{refusal.aadsts},
		"timestamp":      now,
		"trace_id":       trace,
		"correlation_id": correlation,
		"error_uri":      fmt.Sprintf("https://login.microsoftonline.com/error?code=%d", refusal.aadsts),
		"stand_in":       said,
	})
}

// correlationID is what the client calls its request: in a header, or in the
// query as MSAL for JavaScript has it.
func correlationID(r *http.Request) string {
	id := r.Header.Get("Client-Request-Id")
	if id == "" {
		id = r.URL.Query().Get("client-request-id")
	}
	if len(id) != 36 || strings.Trim(id, "0123456789abcdefABCDEF-") != "" {
		return ""
	}
	return id
}

// newGUID returns a random UUID (RFC 9562 section 5.4).
func newGUID() string {
	var b [16]byte
	rand.Read(b[:]) // never returns an error
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
