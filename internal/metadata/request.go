package metadata

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/issuer-sync/issuer-sync/pkg/exchange"
)

const (
	// maxBody is far above the form that go-autorest sends with a GET.
	maxBody = 64 << 10
	// maxVariables is four times what any client sends, and keeps the search for
	// repeated ones short.
	maxVariables = 16
)

// question is what a good request asks for.
type question struct {
	resource string // as it was asked for, and decoded
	client   string // a GUID in lower case
}

// pathOf is the path as the client spelt it, or "" if its target is no path.
func pathOf(r *http.Request) string {
	if !strings.HasPrefix(r.RequestURI, "/") {
		return ""
	}
	path, _, _ := strings.Cut(r.RequestURI, "?")
	return path
}

// target finds out which of the two paths is asked for.
func target(r *http.Request) (string, error) {
	path := pathOf(r)
	switch {
	case r.ContentLength < 0:
		// With a Content-Length beside it, which net/http removes, that may be
		// an attempt to smuggle a request (RFC 9112 section 6.1).
		return "", refusal{reason: "body", text: "a body of unknown length: want none, or one with Content-Length and no Transfer-Encoding", closes: true}
	case !r.ProtoAtLeast(1, 1):
		return "", refusal{reason: "http_version", text: "HTTP/1.0 is not served: want HTTP/1.1", closes: true}
	case path == "":
		return "", refusal{reason: "no_path", text: "the request's target is not a path: this is no proxy to other servers"}
	case !isAddress(r.Host):
		return "", refusal{reason: "host", text: fmt.Sprintf("host %q: want an address, such as 169.254.169.254, or localhost", short(r.Host))}
	}
	if path != ReadyPath {
		if !isTokenPath(path) {
			return "", refusal{
				status: http.StatusNotFound, code: "not_found", reason: "path",
				text: "only " + TokenPath + " is served, and nothing is passed on to another metadata service",
			}
		}
		path = TokenPath
	}
	if r.Method != http.MethodGet {
		return "", refusal{
			status: http.StatusMethodNotAllowed, code: "method_not_allowed", reason: "method",
			text: "only GET is served",
		}
	}
	return path, nil
}

// isTokenPath compares byte by byte: whatever has to be decoded or cleaned
// first is another path (CVE-2022-23551 was about a back slash).
func isTokenPath(path string) bool {
	const metadata = len("/metadata")
	path = strings.TrimSuffix(path, "/")
	return len(path) == len(TokenPath) &&
		strings.EqualFold(path[:metadata], TokenPath[:metadata]) && path[metadata:] == TokenPath[metadata:]
}

// isAddress reports whether the value of a Host header is an IP address or
// localhost, with or without a port. A browser in the pod that was lured by
// DNS rebinding may send any header but this: it is the name of the lure.
func isAddress(host string) bool {
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	_, err := netip.ParseAddr(host)
	return err == nil || strings.EqualFold(host, "localhost")
}

// read checks a request for an access token.
func (h *Handler) read(r *http.Request) (question, error) {
	if err := checkHeader(r.Header); err != nil {
		return question{}, err
	}
	v, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return question{}, err
	}
	asked, err := h.choose(v)
	if err != nil {
		return asked, err
	}
	return asked, discardBody(r)
}

// checkHeader refuses what was not made by a program here: the first header
// cannot be set by whoever may only name a URL, and the second is set by
// proxies that pass on requests of others. IMDS does the same.
func checkHeader(header http.Header) error {
	if _, forwarded := header["X-Forwarded-For"]; forwarded {
		return refusal{reason: "forwarded", text: "X-Forwarded-For is set: requests that are passed on for others are refused"}
	}
	// Microsoft, "How to use managed identities on an Azure VM to acquire an
	// access token", bad_request_102: true, all in lower case.
	if values := header["Metadata"]; len(values) != 1 || values[0] != "true" {
		return refusal{
			code: "bad_request_102", reason: "metadata_header",
			text: "Required metadata header not specified: want Metadata: true, once",
		}
	}
	return nil
}

// variables are those of a query that mean something here, by their names in
// any case. An empty value is as good as none. What api-version says, if
// anything, changes nothing: the answer is the same in every version that there
// was.
type variables struct {
	resource, client string
	selector         string // name of another variable that selects an identity
}

func parseQuery(query string) (variables, error) {
	var (
		v    variables
		seen [maxVariables]string
		n    int
	)
	if strings.Contains(query, ";") { // which some take for another &
		return variables{}, refusal{reason: "query", text: "the query has a semicolon: want it percent-encoded, as %3B"}
	}
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		name, value, err := unescape(pair)
		name = strings.ToLower(name) // a misspelt client_id is not to mean the default
		switch {
		case err != nil:
			return variables{}, refusal{reason: "query", text: "the query is not percent-encoded as it should be"}
		case slices.Contains(seen[:n], name):
			return variables{}, refusal{reason: "query", text: fmt.Sprintf("query variable %q is repeated", short(name))}
		case n == maxVariables:
			return variables{}, refusal{reason: "query", text: fmt.Sprintf("the query has more than %d variables", maxVariables)}
		}
		seen[n], n = name, n+1
		v.set(name, value)
	}
	return v, nil
}

func unescape(pair string) (name, value string, err error) {
	name, value, _ = strings.Cut(pair, "=")
	if name, err = url.QueryUnescape(name); err != nil {
		return "", "", err
	}
	value, err = url.QueryUnescape(value)
	return name, value, err
}

func (v *variables) set(name, value string) {
	switch name {
	case "resource":
		v.resource = value
	case "client_id":
		v.client = value
	case "object_id", "principal_id", "clientid", "msi_res_id", "mi_res_id":
		if value != "" {
			v.selector = name
		}
	}
}

// choose decides which identity is asked for. The question is empty with every
// error but the last, as what else is asked for may be anything.
func (h *Handler) choose(v variables) (question, error) {
	switch {
	case v.resource == "":
		return question{}, refusal{reason: "resource", text: "Required query variable 'resource' is missing"}
	case v.selector != "" && v.client != "":
		return question{}, refusal{reason: "selector", text: fmt.Sprintf("client_id and %s: want one of them, and that client_id", v.selector)}
	case v.selector != "":
		return question{}, refusal{reason: "selector", text: v.selector + " selects no identity here: use the client ID of the identity, as client_id"}
	case v.client == "" && h.config.ClientID == "":
		return question{}, refusal{
			reason: "client_id",
			text: "the request has no client_id, and the pod has none: " +
				"set annotation azure.workload.identity/client-id on its ServiceAccount, or client_id in the request",
		}
	case v.client != "" && exchange.CheckClient(v.client) != nil:
		return question{}, refusal{reason: "client_id", text: fmt.Sprintf("client_id %q: want a GUID", short(v.client))}
	}
	client := v.client
	if client == "" {
		client = h.config.ClientID
	}
	asked := question{resource: v.resource, client: strings.ToLower(client)}
	if h.allowed != nil && !h.allowed[asked.client] {
		return asked, refusal{reason: "not_allowed", text: fmt.Sprintf("client_id %q is not among the identities that are allowed here", asked.client)}
	}
	return asked, nil
}

// discardBody reads the body that some clients send with a GET; what it says
// is in the query, too.
func discardBody(r *http.Request) error {
	switch {
	case r.ContentLength > maxBody:
		return refusal{
			status: http.StatusRequestEntityTooLarge, reason: "body", closes: true,
			text: fmt.Sprintf("a body of %d bytes: want none, or %d at most", r.ContentLength, maxBody),
		}
	case r.ContentLength == 0:
		return nil
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return refusal{reason: "body", text: "the body ends before its Content-Length", closes: true}
	}
	return nil
}
