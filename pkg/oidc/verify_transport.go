package oidc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// document judges how a document is delivered, ahead of what it says.
func (s *sequence) document(f fetched) {
	s.gate("reachable", f.reachable)
	s.gate("TLS chain", f.tlsChain)
	s.check("response time", f.responseTime)
	s.check("clock", f.clock)
	s.gate("no redirect", f.noRedirect)
	s.gate("anonymous access", f.anonymousAccess)
	s.check("content type", f.contentType)
	s.check("caching", f.caching)
}

func (f fetched) reachable() verdict {
	var lookup *net.DNSError
	var network net.Error
	switch {
	case f.err == nil || f.handshake != nil:
		return passed("%q", shown(f.url))
	case errors.As(f.err, &lookup):
		return failed("create a public DNS record for the host, or correct the issuer",
			"%q: looking up host %q: %s", shown(f.url), lookup.Name, lookup.Err)
	case errors.Is(f.err, context.DeadlineExceeded) || errors.As(f.err, &network) && network.Timeout():
		return failed("let the host be reached from everywhere: firewall, load balancer, private endpoint",
			"%q: no whole answer within %s", shown(f.url), fetchTimeout)
	default:
		return failed("make the server answer here; check host, port and firewall", "%q: %v", shown(f.url), f.err)
	}
}

// Days before its end at which a certificate that renews itself would long have done so.
const expiryWarning = 14 * 24 * time.Hour

func (f fetched) tlsChain() verdict {
	if f.handshake != nil {
		return f.badHandshake()
	}
	if f.tls == nil {
		return skipped("", "%q was fetched without TLS", shown(f.url))
	}
	certificate := firstToExpire(f.tls.VerifiedChains)
	left := certificate.NotAfter.Sub(f.received)
	days := int(left / (24 * time.Hour))
	name := certificate.Subject.String()
	switch {
	case left < expiryWarning:
		return warned("renew the certificate now, and see why it was not renewed by itself",
			"certificate %q ends in %d days, on %s", name, days, certificate.NotAfter.Format(time.DateOnly))
	case f.privateCA && !f.public:
		outcome := warned("serve a certificate of a public CA to be trusted by public clouds",
			"trusted only through the CA given: certificate %q, %d days left", name, days)
		outcome.publicHost = true
		return outcome
	default:
		return passed("certificate %q, %d days left", name, days)
	}
}

// firstToExpire returns the certificate that ends the validity of the best chain.
func firstToExpire(chains [][]*x509.Certificate) *x509.Certificate {
	var best *x509.Certificate
	for _, chain := range chains {
		first := chain[0]
		for _, certificate := range chain {
			if certificate.NotAfter.Before(first.NotAfter) {
				first = certificate
			}
		}
		if best == nil || first.NotAfter.After(best.NotAfter) {
			best = first
		}
	}
	return best
}

func (f fetched) badHandshake() verdict {
	var (
		unverified *tls.CertificateVerificationError
		authority  x509.UnknownAuthorityError
		name       x509.HostnameError
		invalid    x509.CertificateInvalidError
		record     tls.RecordHeaderError
	)
	errors.As(f.handshake, &unverified)
	switch {
	case errors.As(f.handshake, &authority) && unverified != nil:
		leaf := unverified.UnverifiedCertificates[0]
		if leaf.Issuer.String() == leaf.Subject.String() {
			return failed("use a certificate of a public CA; for a private one give it as CA file",
				"certificate %q is self-signed", leaf.Subject.String())
		}
		return failed("use a certificate of a public CA and serve its intermediates too; for a private CA give its certificate as CA file",
			"certificate %q is signed by %q, which nothing trusted vouches for (%d sent)",
			leaf.Subject.String(), leaf.Issuer.String(), len(unverified.UnverifiedCertificates))
	case errors.As(f.handshake, &name):
		return failed("get a certificate for this host, or correct the issuer",
			"the certificate is not for host %q but for %s", name.Host, several(certificateNames(name.Certificate)))
	case errors.As(f.handshake, &invalid) && invalid.Reason == x509.Expired:
		return failed("renew the certificate; if its dates are right, set the clock here",
			"certificate %q is valid from %s to %s", invalid.Cert.Subject.String(),
			invalid.Cert.NotBefore.UTC().Format(time.RFC3339), invalid.Cert.NotAfter.UTC().Format(time.RFC3339))
	case errors.As(f.handshake, &record):
		return failed("serve HTTPS at this address", "the server does not speak TLS")
	default:
		return failed("make the server speak TLS 1.2 or 1.3 with a certificate of a public CA", "%v", f.handshake)
	}
}

func certificateNames(certificate *x509.Certificate) []string {
	names := append([]string{}, certificate.DNSNames...)
	for _, address := range certificate.IPAddresses {
		names = append(names, address.String())
	}
	return names
}

// slowAnswer is when AWS STS gives an issuer up.
const slowAnswer = 5 * time.Second

func (f fetched) responseTime() verdict {
	if f.elapsed > slowAnswer {
		return warned("serve the documents from memory or a CDN, near to the clouds", "%s; AWS gives up after %s", f.elapsed.Round(time.Millisecond), slowAnswer)
	}
	return passed("%s", f.elapsed.Round(time.Millisecond))
}

// Tokens are judged by clocks: relying parties tolerate 5 minutes at most
// (AWS, Entra, go-oidc); a minute is more than any synchronized clock is off.
const (
	clockWarning = time.Minute
	clockLimit   = 5 * time.Minute
)

func (f fetched) clock() verdict {
	date, err := http.ParseTime(f.header.Get("Date"))
	if err != nil {
		return skipped("", "the answer has no Date header")
	}
	// RFC 9111 section 4.2.3: a cache passes on the Date of old, and how long it kept the answer.
	if age, err := strconv.ParseUint(f.header.Get("Age"), 10, 31); err == nil {
		date = date.Add(time.Duration(age) * time.Second)
	}
	off := f.received.Sub(date).Abs().Truncate(time.Second)
	const cure = "synchronize the clocks (NTP) of the server and of this machine"
	switch {
	case off > clockLimit:
		return failed(cure, "the server's clock and the one here differ by %s; at most %s is tolerated", off, clockLimit)
	case off > clockWarning:
		return warned(cure, "the server's clock and the one here differ by %s", off)
	default:
		return passed("within %s of the one here", clockWarning)
	}
}

func (f fetched) noRedirect() verdict {
	if f.status < 300 || f.status > 399 || f.status == http.StatusNotModified {
		return passed("HTTP %d", f.status)
	}
	// Only the host: the rest of a Location may hold secrets.
	target := "elsewhere"
	if location, err := url.Parse(f.header.Get("Location")); err == nil && location.Host != "" {
		target = "host " + strconv.Quote(location.Hostname())
	}
	return failed("serve the document at this very address: relying parties do not follow redirects; publicly readable, without a login page",
		"HTTP %d redirects to %s", f.status, target)
}

func (f fetched) anonymousAccess() verdict {
	if f.status == http.StatusOK {
		return passed("HTTP 200 without credentials")
	}
	code := f.header.Get("X-Ms-Error-Code")
	if code != "" {
		return failed(f.accessCure(), "HTTP %d, storage error %q", f.status, code)
	}
	return failed(f.accessCure(), "HTTP %d %s", f.status, http.StatusText(f.status))
}

// accessCure says what lets a stranger read the document.
func (f fetched) accessCure() string {
	host := hostname(f.url)
	account, kind := azureStorage(host)
	switch {
	case f.header.Get("X-Ms-Error-Code") == "PublicAccessNotPermitted":
		return "run: az storage account update --name " + account + " --allow-blob-public-access true; " +
			"where a policy forbids that, publish to the account's static website ($web), or serve with issuer-sync"
	case f.status == http.StatusNotFound && kind == "web":
		return "run issuer-sync publish for the container $web, at the same path (case matters), and: " +
			"az storage blob service-properties update --account-name " + account + " --static-website"
	case f.status == http.StatusNotFound && kind == "blob":
		return "run issuer-sync publish; Azure says 404 for a private container too: " +
			"az storage container set-permission --account-name " + account + " --name " + container(f.url) + " --public-access blob"
	case f.status == http.StatusNotFound:
		return "run issuer-sync publish, and let this exact path be served (case and slashes matter)"
	case (f.status == http.StatusUnauthorized || f.status == http.StatusForbidden || f.status == http.StatusConflict) && kind == "blob":
		return "run: az storage container set-permission --account-name " + account + " --name " + container(f.url) + " --public-access blob; " +
			"and let the account's firewall admit all networks"
	case f.status == http.StatusUnauthorized || f.status == http.StatusForbidden:
		return "let everybody GET this address without credentials; an API server does so only if anonymous requests and " +
			"the role system:service-account-issuer-discovery allow it, so better publish with issuer-sync"
	case f.status == http.StatusTooManyRequests:
		return "wait, then raise the server's request limit: clouds ask from many addresses"
	default:
		return "see the server's log; relying parties want HTTP 200"
	}
}

// azureStorage returns the storage account behind a host, and "blob" or "web"
// (static website); empty strings for any other host.
func azureStorage(host string) (account, kind string) {
	account, rest, _ := strings.Cut(host, ".")
	for _, kind := range []string{"blob", "web"} {
		for _, cloud := range []string{"core.windows.net", "core.usgovcloudapi.net", "core.chinacloudapi.cn", "storage.azure.net"} {
			// Between account and service there may be a zone: account.z6.web.core.windows.net.
			if suffix := kind + "." + cloud; rest == suffix || strings.HasSuffix(rest, "."+suffix) {
				return safeName(account, "ACCOUNT"), kind
			}
		}
	}
	return "", ""
}

// container returns the container in the URL of a blob.
func container(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "CONTAINER"
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	return safeName(name, "CONTAINER")
}

// safeName returns the name if it can stand in a command line that people
// copy, else the placeholder. Azure's account and container names consist of
// these characters.
func safeName(name, placeholder string) string {
	if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return placeholder
	}
	return name
}

// deleteLock reminds of what cannot be seen from outside: after an account is
// deleted, anybody may register its name, and is this issuer.
func deleteLock(account string) verdict {
	return skipped("run: az lock create --name issuer --lock-type CanNotDelete --resource-type Microsoft.Storage/storageAccounts --resource-name "+account+" --resource-group GROUP",
		"cannot be seen from outside; whoever registers the name of a deleted storage account becomes this issuer")
}
