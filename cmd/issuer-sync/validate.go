package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// validate returns every mistake that can be seen without asking anybody, each
// with the field it is in.
func (c *config) validate() []error {
	check := new(checker)
	if _, err := newLogger(nil, c.Log); err != nil {
		check.faults = append(check.faults, err)
	}
	if len(c.Issuers) == 0 {
		check.fault("issuers", "there is none; want at least one with url, sources and stores")
	}
	byURL, byPath := map[string]int{}, map[string]int{}
	for i, issuer := range c.Issuers {
		at := fmt.Sprintf("issuers[%d]", i)
		issuer.validate(check, at)
		if other, taken := byURL[issuer.URL]; taken {
			check.fault(at+".url", "%q is that of issuers[%d] too", issuer.URL, other)
			continue
		}
		byURL[issuer.URL] = i
		if parsed, err := oidc.ParseIssuer(issuer.URL); err == nil && c.Serve.Address != "" {
			path := parsed.Path("")
			if other, taken := byPath[path]; taken {
				check.fault(at+".url", "it has the same path as issuers[%d]; one server cannot tell them apart", other)
			}
			byPath[path] = i
		}
		if len(issuer.Stores) == 0 && c.Serve.Address == "" {
			check.fault(at+".stores", "there is none, and serve.address is empty: the documents would go nowhere")
		}
	}
	if enabled := c.LeaderElection.Enabled; enabled != "auto" && enabled != "false" {
		check.fault("leaderElection.enabled", "%q; want auto or false: this version elects no leader, every replica writes and compare-and-swap keeps that right", enabled)
	}
	c.Serve.validate(check)
	check.address("admin.address", c.Admin.Address)
	return check.faults
}

func (c serveConfig) validate(check *checker) {
	check.address("serve.address", c.Address)
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		check.fault("serve.tls", "certFile is %q and keyFile is %q; want both or none", c.TLS.CertFile, c.TLS.KeyFile)
	}
	// More than a day would hold a rotation up for that long.
	check.duration("serve.maxAge", c.MaxAge, time.Second, 24*time.Hour)
	check.duration("serve.linger", c.Linger, 0, 5*time.Minute)
}

func (c issuerConfig) validate(check *checker, at string) {
	if _, err := oidc.ParseIssuer(c.URL); err != nil {
		check.faults = append(check.faults, fmt.Errorf("%s.url: %w", at, err))
	}
	check.duration(at+".interval", c.Interval, time.Second, 24*time.Hour)
	if c.Keys.Max < 1 || c.Keys.Max > keys.MaxKeys {
		check.fault(at+".keys.max", "%d; want 1 to %d, the most that relying parties read", c.Keys.Max, keys.MaxKeys)
	}
	check.duration(at+".keys.retention", c.Keys.Retention, time.Minute, 400*24*time.Hour)
	check.duration(at+".keys.minimumWait", c.Keys.MinimumWait, time.Second, 30*24*time.Hour)
	if len(c.Sources) == 0 {
		check.fault(at+".sources", "there is none; want at least one of cluster, files, jwks")
	}
	for i, source := range c.Sources {
		source.validate(check, fmt.Sprintf("%s.sources[%d]", at, i))
	}
	for i, store := range c.Stores {
		store.validate(check, fmt.Sprintf("%s.stores[%d]", at, i))
	}
	if c.Verify.URL != "" {
		check.url(at+".verify.url", c.Verify.URL, "https", "http")
	}
}

func (c sourceConfig) validate(check *checker, at string) {
	check.exactlyOne(at, map[string]bool{"cluster": c.Cluster != nil, "files": c.Files != nil, "jwks": c.JWKS != nil})
	if c.Cluster != nil && c.Cluster.Kubeconfig == "" && c.Cluster.Context != "" {
		check.fault(at+".cluster.context", "%q without kubeconfig; name the file too", c.Cluster.Context)
	}
	if c.Files != nil && (len(c.Files.Paths) == 0 || slices.Contains(c.Files.Paths, "")) {
		check.fault(at+".files.paths", "%q; want PEM files, directories or globs", c.Files.Paths)
	}
	if c.JWKS != nil {
		check.url(at+".jwks.url", c.JWKS.URL, "https")
	}
}

func (c storeConfig) validate(check *checker, at string) {
	check.exactlyOne(at, map[string]bool{"azureBlob": c.AzureBlob != nil, "directory": c.Directory != nil, "configMap": c.ConfigMap != nil})
	if c.AzureBlob != nil {
		check.url(at+".azureBlob.url", c.AzureBlob.URL, "https", "http")
		credentials := []string{"default", "workloadIdentity", "connectionString", "sas", "sharedKey"}
		if !slices.Contains(credentials, c.AzureBlob.Credential) {
			check.fault(at+".azureBlob.credential", "%q; want one of %s", c.AzureBlob.Credential, strings.Join(credentials, ", "))
		}
	}
	if c.Directory != nil && c.Directory.Path == "" {
		check.fault(at+".directory.path", "it is empty; want a directory")
	}
	if c.ConfigMap != nil && (c.ConfigMap.Namespace == "" || c.ConfigMap.Name == "") {
		check.fault(at+".configMap", "namespace is %q and name is %q; want both", c.ConfigMap.Namespace, c.ConfigMap.Name)
	}
}

// checker collects mistakes.
type checker struct {
	faults []error
}

func (c *checker) fault(field, format string, args ...any) {
	c.faults = append(c.faults, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
}

func (c *checker) exactlyOne(field string, given map[string]bool) {
	var names, set []string
	for name, ok := range given {
		names = append(names, name)
		if ok {
			set = append(set, name)
		}
	}
	slices.Sort(names)
	slices.Sort(set)
	switch len(set) {
	case 1:
	case 0:
		c.fault(field, "it says nothing; want exactly one of %s (written %s: {} if it has no fields)", strings.Join(names, ", "), names[0])
	default:
		c.fault(field, "it has %s; want exactly one, and another list entry for each other", strings.Join(set, " and "))
	}
}

func (c *checker) duration(field string, d, least, most time.Duration) {
	if d < least || d > most {
		c.fault(field, "%s; want %s to %s, with its unit", d, least, most)
	}
}

func (c *checker) url(field, s string, schemes ...string) {
	u, err := url.Parse(s)
	if err != nil {
		if parse, ok := errors.AsType[*url.Error](err); ok {
			err = parse.Err
		}
		c.fault(field, "%q: %v", s, err)
		return
	}
	if !slices.Contains(schemes, u.Scheme) || u.Host == "" {
		c.fault(field, "%q; want an absolute URL with scheme %s", s, strings.Join(schemes, " or "))
	}
}

func (c *checker) address(field, s string) {
	if s == "" {
		return
	}
	_, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		c.fault(field, "%q; want host:port with a port from 0 to 65535, such as :8443", s)
	}
}
