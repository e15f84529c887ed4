package oidc

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// partyChecks are the checks of one relying party. Its sequences differ in
// what has to be there: nothing, the entries of the JWK set, a usable key
// among them, a readable token.
type partyChecks struct {
	v                              *view
	plain, entries, usable, claims sequence
}

// judgeParty checks the limits of one relying party that show from outside.
func judgeParty(party RelyingParty, p partyChecks) {
	switch party {
	case Entra:
		p.entra()
	case AWS:
		p.aws()
	case GCP:
		p.gcp()
	default:
		p.plain.check("known", func() verdict {
			return failed(fmt.Sprintf("ask for %s, %s or %s", Entra, AWS, GCP), "relying party %q is not known", string(party))
		})
	}
}

// Microsoft Entra ID: workload identity federation, "Important considerations
// and restrictions for federated identity credentials".
func (p partyChecks) entra() {
	p.plain.check("issuer length", p.entraIssuer)
	p.plain.check("public host", p.publicHost)
	p.entries.check("public certificate", p.publicCertificate)
	p.usable.check("algorithms", func() verdict {
		return p.accepts("give kube-apiserver an RSA key to sign with: Entra answers AADSTS5002738 to all others", "RS256")
	})
	p.entries.check("key count", p.entraKeyCount)
	if p.v.options.Token != "" {
		p.claims.check("audience", p.entraAudience)
	}
}

// AWS IAM: "Create an OpenID Connect identity provider", its prerequisites.
func (p partyChecks) aws() {
	p.plain.check("port", p.awsPort)
	p.plain.check("public host", p.publicHost)
	p.entries.check("public certificate", p.awsCertificate)
	p.entries.check("response time", p.awsResponseTime)
	p.usable.check("algorithms", func() verdict {
		return p.accepts("give kube-apiserver an RSA or EC key to sign with", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512")
	})
	p.entries.check("key count", p.awsKeyCount)
	p.entries.check("key IDs", p.awsKeyIDs)
	p.entries.check("key_ops", p.awsKeyOps)
}

// Google Cloud: workload identity federation, OIDC providers.
func (p partyChecks) gcp() {
	p.plain.check("public host", p.publicHost)
	p.entries.check("public certificate", p.publicCertificate)
	p.usable.check("algorithms", func() verdict {
		return p.accepts("give kube-apiserver an RSA key or an EC key on P-256 to sign with", "RS256", "ES256")
	})
	if p.v.options.Token != "" {
		p.claims.check("subject", p.gcpSubject)
		p.claims.check("audience", p.gcpAudience)
	}
}

// publicHost tells the issuer on a laptop from the one that clouds can reach.
func (p partyChecks) publicHost() verdict {
	var names, unknown []string
	for _, host := range p.v.hosts {
		names = append(names, host.host)
		if host.err != nil {
			unknown = append(unknown, fmt.Sprintf("looking up %q: %v", host.host, host.err))
			continue
		}
		if !slices.ContainsFunc(host.addresses, isPublic) {
			outcome := failed("publish to public storage or under a public name; until then only a cloud that takes an uploaded JWK set, such as Google Cloud, can trust it",
				"host %q has no public address, only %v: only a public host can pass", host.host, host.addresses)
			outcome.publicHost = true
			return outcome
		}
	}
	if len(unknown) > 0 {
		return skipped("verify from where public names can be looked up", "%s", strings.Join(unknown, "; "))
	}
	return passed("public addresses for %s", several(names))
}

// isPublic reports whether the internet routes to an address.
func isPublic(address netip.Addr) bool {
	// RFC 6598: the shared space behind carriers' NAT, which is private too.
	shared := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10)
	return address.IsGlobalUnicast() && !address.IsPrivate() && !shared.Contains(address)
}

func (p partyChecks) publicCertificate() verdict {
	if p.v.options.BaseURL != "" {
		return skipped("verify without another address to fetch from", "the issuer's own certificate was not seen")
	}
	if p.v.discovery.public && p.v.jwks.public {
		return passed("trusted by public roots")
	}
	outcome := failed("serve a certificate of a public CA", "it is trusted only through the CA given: only a public host can pass")
	outcome.publicHost = true
	return outcome
}

// awsCertificate is lenient: AWS trusts a CA by the thumbprint it was told,
// which it defines as the SHA-1 of the last certificate that the server sends.
func (p partyChecks) awsCertificate() verdict {
	outcome := p.publicCertificate()
	if outcome.status != Fail {
		return outcome
	}
	sent := p.v.discovery.tls.PeerCertificates
	thumbprint := sha1.Sum(sent[len(sent)-1].Raw)
	outcome = warned("serve a certificate of a public CA, or register the thumbprint with the provider: "+hex.EncodeToString(thumbprint[:]),
		"trusted only through the CA given")
	outcome.publicHost = true
	return outcome
}

// accepts judges the keys, and the token's algorithm, by what a relying party
// can verify.
func (p partyChecks) accepts(cure string, algorithms ...string) verdict {
	var accepted int
	var refused []string
	for _, key := range usableKeys(p.v.entries) {
		if slices.Contains(algorithms, key.Algorithm) {
			accepted++
		} else {
			refused = append(refused, key.ID)
		}
	}
	wanted := strings.Join(algorithms, ", ")
	haveToken := p.v.options.Token != "" && p.v.tokenFault == nil
	switch {
	case accepted == 0:
		return failed(cure, "no key for %s, only for %s", wanted, strings.Join(algorithmsOf(usableKeys(p.v.entries)), ", "))
	case haveToken && !slices.Contains(algorithms, p.v.token.algorithm):
		return failed(cure, "the token is signed with %q; accepted are %s", p.v.token.algorithm, wanted)
	case len(refused) > 0:
		return warned(cure, "tokens signed by %s are refused; accepted are %s", several(refused), wanted)
	default:
		return passed("all keys are for %s", wanted)
	}
}

func (p partyChecks) entraIssuer() verdict {
	const cure = "choose a shorter issuer"
	n := len(p.v.issuer.String())
	if n == 0 || n > maxIssuerLength {
		return failed(cure, "%d characters; want 1 to %d", n, maxIssuerLength)
	}
	return passed("%d of %d characters", n, maxIssuerLength)
}

func (p partyChecks) entraKeyCount() verdict {
	if n := len(p.v.entries); n > keys.MaxKeys {
		return failed("take out the keys whose tokens have all expired", "%d keys; Entra keeps the first %d", n, keys.MaxKeys)
	}
	return passed("%d of %d", len(p.v.entries), keys.MaxKeys)
}

// entraAudience wants what the federated identity credential wants, which
// differs by sovereign cloud.
func (p partyChecks) entraAudience() verdict {
	audiences := []string{"api://AzureADTokenExchange", "api://AzureADTokenExchangeUSGov", "api://AzureADTokenExchangeChina"}
	got := p.v.token.audience
	if len(got) == 1 && slices.Contains(audiences, got[0]) {
		return passed("%q alone", got[0])
	}
	return failed("ask for a token with the one audience "+audiences[0]+"; the government and China clouds have USGov and China at its end",
		"%d audiences: %s", len(got), several(got))
}

func (p partyChecks) awsPort() verdict {
	u, err := url.Parse(p.v.issuer.String())
	if err == nil && u.Port() == "" {
		return passed("the issuer has none")
	}
	outcome := failed("choose an issuer on port 443 that does not name it", "AWS takes no issuer with a port: only a public host can pass")
	outcome.publicHost = true
	return outcome
}

func (p partyChecks) awsResponseTime() verdict {
	slowest := max(p.v.discovery.elapsed, p.v.jwks.elapsed)
	if slowest > slowAnswer {
		return failed("serve the documents from memory or a CDN", "%s; AWS gives up after %s", slowest, slowAnswer)
	}
	return passed("at most %s", slowAnswer)
}

func (p partyChecks) awsKeyCount() verdict {
	const limit = 100
	count := make(map[string]int)
	for _, entry := range p.v.entries {
		count[strings.Trim(string(entry.members["kty"]), `"`)]++
	}
	if count["RSA"] > limit || count["EC"] > limit {
		return failed("take out the keys whose tokens have all expired", "%d RSA and %d EC keys; AWS takes at most %d of each", count["RSA"], count["EC"], limit)
	}
	return passed("%d RSA and %d EC keys", count["RSA"], count["EC"])
}

// awsKeyIDs is about what AWS does with a set that others still read: a later
// key replaces an earlier one of the same ID, a key without ID is lost.
func (p partyChecks) awsKeyIDs() verdict {
	const cure = "publish each key once, with the kid that the cluster puts into its tokens"
	seen := make(map[string]bool)
	for _, entry := range p.v.entries {
		if entry.id != "" && seen[entry.id] {
			return failed(cure, "a later key called %q replaces an earlier one", entry.id)
		}
		seen[entry.id] = true
	}
	if without := p.v.withoutID(); len(without) > 0 {
		return warned(cure, "AWS cannot use keys without kid: %s", several(without))
	}
	return passed("each key has its own")
}

func (p partyChecks) awsKeyOps() verdict {
	var with []string
	for _, entry := range p.v.entries {
		if _, found := entry.members["key_ops"]; found {
			with = append(with, entry.subject())
		}
	}
	if len(with) > 0 {
		return failed(`publish keys without key_ops; "use": "sig" says it`, "AWS takes no key with key_ops: %s", several(with))
	}
	return passed("no key has it")
}

func (p partyChecks) gcpSubject() verdict {
	const limit = 127
	if n := utf8.RuneCountInString(p.v.token.subject); n > limit {
		return failed("use a shorter namespace or service account name, or map google.subject to a part of the subject",
			"%d characters; google.subject holds %d", n, limit)
	}
	return passed("at most %d characters", limit)
}

func (p partyChecks) gcpAudience() verdict {
	const limit = 256
	for _, audience := range p.v.token.audience {
		if n := utf8.RuneCountInString(audience); n > limit {
			return failed("let the provider accept a shorter audience, and ask for a token with it", "an audience of %d characters; want at most %d", n, limit)
		}
	}
	return passed("at most %d characters", limit)
}
