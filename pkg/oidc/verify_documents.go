package oidc

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

func (f fetched) contentType() verdict {
	value := f.header.Get("Content-Type")
	media, _, err := mime.ParseMediaType(value)
	cure := fmt.Sprintf("set the object's Content-Type to %s", f.accept[0])
	switch {
	case f.header.Get("Content-Encoding") != "":
		return failed("store the document as it is, without Content-Encoding", "encoded as %q, which was not asked for", f.header.Get("Content-Encoding"))
	case err == nil && slices.Contains(f.accept, media):
		return passed("%s", media)
	case media == "text/html" || media == "application/xhtml+xml":
		return failed(cure+"; if it is a login or error page, let the document be read without it", "%q: a page for people", media)
	case value == "":
		return warned(cure, "the header is missing")
	default:
		return warned(cure, "%q; strict relying parties refuse it", value)
	}
}

// longMaxAge is what kube-apiserver says of its own documents. What is kept
// longer delays every rotation.
const longMaxAge = time.Hour

func (f fetched) caching() verdict {
	const cure = `set the object's Cache-Control to "public, max-age=300"`
	age, found := maxAge(f.header)
	switch {
	case !found:
		return warned(cure, "Cache-Control %q has no max-age: relying parties choose themselves how long they keep it", f.header.Get("Cache-Control"))
	case age > longMaxAge:
		return warned(cure, "max-age is %s: a new key must wait that long before it may sign", age)
	default:
		return passed("max-age is %s", age)
	}
}

// maxAge returns the longest time any cache may keep an answer (RFC 9111
// sections 5.2.2.1 and 5.2.2.10).
func maxAge(header http.Header) (longest time.Duration, found bool) {
	for directive := range strings.SplitSeq(strings.Join(header.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		if !strings.EqualFold(name, "max-age") && !strings.EqualFold(name, "s-maxage") {
			continue
		}
		if seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
			longest, found = max(longest, time.Duration(seconds)*time.Second), true
		}
	}
	return longest, found
}

// metadata is what matters of a discovery document (OpenID Connect Discovery
// 1.0 section 3).
type metadata struct {
	issuer, jwksURI                         string
	responseTypes, subjectTypes, algorithms []string
	mistyped                                []string // names of members that are there, but of a wrong type
}

// parseMetadata reads a discovery document strictly: what two parsers may read
// differently is not read at all.
func parseMetadata(body []byte) (metadata, error) {
	if len(body) > keys.MaxInputSize {
		return metadata{}, fmt.Errorf("it has more than %d bytes", keys.MaxInputSize)
	}
	var members map[string]json.RawMessage
	if err := keys.UnmarshalStrict(body, &members); err != nil {
		return metadata{}, err
	}
	var m metadata
	for name, target := range map[string]any{
		"issuer":                                &m.issuer,
		"jwks_uri":                              &m.jwksURI,
		"response_types_supported":              &m.responseTypes,
		"subject_types_supported":               &m.subjectTypes,
		"id_token_signing_alg_values_supported": &m.algorithms,
	} {
		if value, found := members[name]; found && keys.UnmarshalStrict(value, target) != nil {
			m.mistyped = append(m.mistyped, name)
		}
	}
	slices.Sort(m.mistyped)
	return m, nil
}

func (v *view) strictDiscovery() verdict {
	if v.metadataFault != nil {
		return failed("upload what issuer-sync publish renders, unchanged", "%v", v.metadataFault)
	}
	return passed("one object without duplicate members")
}

func (v *view) exactIssuer() verdict {
	got, want := v.metadata.issuer, v.issuer.String()
	if got == want {
		return passed("%q", got)
	}
	return failed("let cluster, document and trust configuration name one string, byte for byte: publish with the issuer of --service-account-issuer",
		"the document says %q%s; want %q", got, difference(got, want), want)
}

// difference names the way in which two issuers usually differ.
func difference(got, want string) string {
	withoutPort := func(s string) string { return strings.Replace(s, ":443", "", 1) }
	switch {
	case got == "":
		return ", no issuer at all"
	case got == want+"/":
		return ", with a trailing slash"
	case got+"/" == want:
		return ", without the trailing slash"
	case strings.TrimSpace(got) == want:
		return ", with white space around it"
	case withoutPort(got) == withoutPort(want):
		return ", which differs in the port :443"
	case strings.TrimPrefix(got, "http://") == strings.TrimPrefix(want, "https://"):
		return ", which differs in the scheme"
	case strings.EqualFold(got, want):
		return ", which differs in upper and lower case"
	case strings.HasPrefix(got, "https://kubernetes.default"):
		return ", the cluster's internal default"
	default:
		return ""
	}
}

func (v *view) requiredMembers() verdict {
	m := v.metadata
	var faults []string
	for _, name := range m.mistyped {
		faults = append(faults, name+" has a wrong type")
	}
	want := func(name string, values []string, value string) {
		if !slices.Contains(m.mistyped, name) && !slices.Contains(values, value) {
			faults = append(faults, fmt.Sprintf("%s lacks %q", name, value))
		}
	}
	want("response_types_supported", m.responseTypes, "id_token")
	want("subject_types_supported", m.subjectTypes, "public")
	if len(m.algorithms) == 0 && !slices.Contains(m.mistyped, "id_token_signing_alg_values_supported") {
		faults = append(faults, "id_token_signing_alg_values_supported is missing or empty")
	}
	if len(faults) > 0 {
		return failed("upload what issuer-sync publish renders, unchanged", "%s", strings.Join(faults, "; "))
	}
	return passed("response types, subject types and algorithms are there")
}

// jwksURI accepts any host and path: EKS and GKE have their own.
func (v *view) jwksURI() verdict {
	const cure = "name a plain https address, without credentials, at which everybody can read the JWK set"
	u, err := url.Parse(v.metadata.jwksURI)
	if err != nil {
		return failed(cure, "it is no URL")
	}
	address := shown(v.metadata.jwksURI)
	switch {
	case v.metadata.jwksURI == "":
		return failed(cure, "the member is missing or empty")
	case u.Scheme != "https" || u.Host == "":
		return failed(cure, "%q is not an absolute https URL", address)
	case u.User != nil:
		return failed(cure+"; change the password, it is public", "%q has a user in it", address)
	case strings.Contains(v.metadata.jwksURI, "#"):
		return failed(cure, "%q has a fragment", address)
	case u.RawQuery != "":
		return warned(cure+"; a storage signature in it would expire", "%q has a query", address)
	default:
		return passed("%q", address)
	}
}
