package main

import (
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// validate reports every mistake that can be seen without asking anybody.
func (c config) validate(check *checker) {
	c.Log.validate(check)
	if len(c.Issuers) == 0 {
		check.fault("issuers", "there is none; want at least one with url, sources and stores")
	}
	for i, issuer := range c.Issuers {
		at := fmt.Sprintf("issuers[%d]", i)
		issuer.validate(check, at)
		// A wait of zero, or a max-age out of bounds, is reported already.
		if wait := issuer.Keys.MinimumWait; wait >= time.Second && wait < c.Serve.MaxAge && c.Serve.MaxAge <= maxMaxAge {
			check.fault(at+".keys.minimumWait", "%s; want at least serve.maxAge, %s: caches may not know the key before", wait, c.Serve.MaxAge)
		}
		if retention := issuer.Keys.Retention; retention >= time.Minute && retention < c.Serve.MaxAge && c.Serve.MaxAge <= maxMaxAge {
			check.fault(at+".keys.retention", "%s; want more than serve.maxAge, %s: the longest life of a token, 5 minutes of skew, and that", retention, c.Serve.MaxAge)
		}
		if len(issuer.Stores) == 0 && c.Serve.Address == "" {
			check.fault(at+".stores", "there is none, and serve.address is empty: the documents would go nowhere")
		}
	}
	c.distinctIssuers(check)
	c.distinctStores(check)
	c.LeaderElection.validate(check)
	c.Serve.validate(check)
	check.Address("admin.address", c.Admin.Address)
}

func (c config) distinctIssuers(check *checker) {
	byURL, byPath := map[string]int{}, map[string]int{}
	for i, issuer := range c.Issuers {
		parsed, err := oidc.ParseIssuer(issuer.URL)
		if err != nil {
			continue // reported already
		}
		at := fmt.Sprintf("issuers[%d].url", i)
		if other, taken := byURL[issuer.URL]; taken {
			check.fault(at, "%q is that of issuers[%d] too", issuer.URL, other)
			continue
		}
		byURL[issuer.URL] = i
		path := parsed.Path("")
		if other, taken := byPath[path]; taken && c.Serve.Address != "" {
			check.fault(at, "it has the same path as issuers[%d]; one server cannot tell them apart", other)
		}
		byPath[path] = i
	}
}

// distinctStores reports stores that are named twice: two publishers would
// write over each other.
func (c config) distinctStores(check *checker) {
	taken := map[string]string{}
	for i, issuer := range c.Issuers {
		places := map[string]string{}
		for j, store := range issuer.Stores {
			places[fmt.Sprintf("issuers[%d].stores[%d]", i, j)] = store.place()
		}
		if issuer.State != nil {
			places[fmt.Sprintf("issuers[%d].state", i)] = issuer.State.place()
		}
		for _, at := range slices.Sorted(maps.Keys(places)) {
			place := places[at]
			if other, ok := taken[place]; ok && place != "" {
				check.fault(at, "it is the same place as %s; want each store once", other)
				continue
			}
			taken[place] = at
		}
	}
}

// place is equal for stores that are in the same place; "" is unknown.
func (c storeConfig) place() string {
	switch {
	case c.AzureBlob != nil && c.AzureBlob.URL != "":
		return "azureBlob " + strings.TrimRight(c.AzureBlob.URL, "/")
	case c.Directory != nil && c.Directory.Path != "":
		path, err := filepath.Abs(c.Directory.Path)
		if err != nil { // the working directory is gone
			path = filepath.Clean(c.Directory.Path)
		}
		return "directory " + path
	case c.ConfigMap != nil && c.ConfigMap.Name != "":
		m := c.ConfigMap
		return fmt.Sprintf("configMap %q %q %q %q", m.Kubeconfig, m.Context, m.Namespace, m.Name)
	default:
		return ""
	}
}

// validate reports levels and formats that do not exist.
func (c logConfig) validate(check *checker) {
	if err := new(slog.Level).UnmarshalText([]byte(c.Level)); err != nil {
		check.fault("log.level", "%q; want debug, info, warn or error", c.Level)
	}
	if c.Format != "text" && c.Format != "json" {
		check.fault("log.format", "%q; want text or json", c.Format)
	}
}

func (c leaderElectionConfig) validate(check *checker) {
	if !slices.Contains([]string{"true", "false", "auto"}, c.Enabled) {
		check.fault("leaderElection.enabled", "%q; want true, false or auto", c.Enabled)
	}
	if c.Name == "" {
		check.fault("leaderElection.name", "it is empty; want the name of a Lease")
	}
	if c.Kubeconfig != "" && c.Namespace == "" {
		check.fault("leaderElection.namespace", "it is empty; with kubeconfig there is no pod whose namespace could be meant")
	}
	if c.Kubeconfig == "" && c.Context != "" {
		check.fault("leaderElection.context", "%q without kubeconfig; name the file too", c.Context)
	}
}

// maxMaxAge bounds max-age: more would hold a rotation up for that long.
const maxMaxAge = 24 * time.Hour

func (c serveConfig) validate(check *checker) {
	check.Address("serve.address", c.Address)
	if c.TLS.CertFile != "" && c.TLS.KeyFile == "" {
		check.fault("serve.tls.certFile", "%q without serve.tls.keyFile; want both or none", c.TLS.CertFile)
	}
	if c.TLS.KeyFile != "" && c.TLS.CertFile == "" {
		check.fault("serve.tls.keyFile", "%q without serve.tls.certFile; want both or none", c.TLS.KeyFile)
	}
	check.Duration("serve.maxAge", c.MaxAge, time.Second, maxMaxAge)
	check.Duration("serve.linger", c.Linger, 0, 5*time.Minute)
}

func (c issuerConfig) validate(check *checker, at string) {
	check.issuer(at+".url", c.URL)
	check.Duration(at+".interval", c.Interval, time.Second, 24*time.Hour)
	if c.Keys.Max < 1 || c.Keys.Max > keys.MaxKeys {
		check.fault(at+".keys.max", "%d; want 1 to %d, the most that relying parties read", c.Keys.Max, keys.MaxKeys)
	}
	check.Duration(at+".keys.retention", c.Keys.Retention, time.Minute, 400*24*time.Hour)
	check.Duration(at+".keys.minimumWait", c.Keys.MinimumWait, time.Second, 30*24*time.Hour)
	if len(c.Sources) == 0 {
		check.fault(at+".sources", "there is none; want at least one of cluster, files, jwks")
	}
	for i, source := range c.Sources {
		source.validate(check, fmt.Sprintf("%s.sources[%d]", at, i))
	}
	for i, store := range c.Stores {
		store.validate(check, fmt.Sprintf("%s.stores[%d]", at, i))
	}
	if c.State != nil {
		c.State.validate(check, at+".state")
		if len(c.Stores) == 0 {
			check.fault(at+".state", "there are no stores; want some, or no state")
		}
	}
	if c.Verify.URL != "" {
		check.baseURL(at+".verify.url", c.Verify.URL)
	}
}

func (c sourceConfig) validate(check *checker, at string) {
	check.exactlyOne(at, map[string]bool{"cluster": c.Cluster != nil, "files": c.Files != nil, "jwks": c.JWKS != nil})
	if c.Cluster != nil && c.Cluster.Kubeconfig == "" && c.Cluster.Context != "" {
		check.fault(at+".cluster.context", "%q without kubeconfig; name the file too", c.Cluster.Context)
	}
	if c.Cluster != nil && c.Cluster.ServiceAccount != "" {
		namespace, name, found := strings.Cut(c.Cluster.ServiceAccount, "/")
		if !found || namespace == "" || name == "" || strings.Contains(name, "/") {
			check.fault(at+".cluster.serviceAccount", "%q; want namespace/name", c.Cluster.ServiceAccount)
		}
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
		check.baseURL(at+".azureBlob.url", c.AzureBlob.URL)
		credentials := []string{"default", "workloadIdentity", "connectionString", "sas", "sharedKey"}
		if !slices.Contains(credentials, c.AzureBlob.Credential) {
			check.fault(at+".azureBlob.credential", "it is not known; want one of %s", strings.Join(credentials, ", "))
		}
	}
	if c.Directory != nil && c.Directory.Path == "" {
		check.fault(at+".directory.path", "it is empty; want a directory")
	}
	if c.ConfigMap != nil && (c.ConfigMap.Namespace == "" || c.ConfigMap.Name == "") {
		check.fault(at+".configMap", "namespace is %q and name is %q; want both", c.ConfigMap.Namespace, c.ConfigMap.Name)
	}
}
