package entra

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// A cloud is what Entra's instance discovery says of one national cloud: the
// hosts that are one and the same authority.
type cloud struct {
	PreferredNetwork string   `json:"preferred_network"`
	PreferredCache   string   `json:"preferred_cache"`
	Aliases          []string `json:"aliases"`
}

// clouds are those that Entra lists, as MSAL for Go has them for when it does
// not ask (known_metadata.go), and the stand-in's own host, if it is none of
// them.
func (s *StandIn) clouds() []cloud {
	const public, china, government = "login.microsoftonline.com", "login.partner.microsoftonline.cn", "login.microsoftonline.us"
	all := []cloud{
		{public, "login.windows.net", []string{public, "login.windows.net", "login.microsoft.com", "sts.windows.net"}},
		{china, china, []string{china, "login.chinacloudapi.cn"}},
		{government, government, []string{government, "login.usgovcloudapi.net"}},
	}
	own := strings.TrimPrefix(s.url, "https://")
	if find(all, own) < 0 {
		all = append(all, cloud{own, own, []string{own}})
	}
	return all
}

// find returns the index of the cloud that has the host, or -1.
func find(clouds []cloud, host string) int {
	return slices.IndexFunc(clouds, func(c cloud) bool { return slices.Contains(c.Aliases, strings.ToLower(host)) })
}

// serveInstance answers what MSAL asks before all else: which hosts are the same,
// for its cache, and of an authority that it does not know, whether Microsoft
// does, and where its discovery document is.
func (s *StandIn) serveInstance(w http.ResponseWriter, r *http.Request) {
	asked := r.URL.Query().Get("authorization_endpoint")
	if asked == "" {
		s.refuse(w, r, missing("authorization_endpoint"))
		return
	}
	endpoint, err := url.Parse(asked)
	if err != nil || endpoint.Scheme != "https" || find(s.clouds(), endpoint.Host) < 0 {
		s.refuse(w, r, unknownInstance().because("the authorization endpoint %q is neither Microsoft's nor the stand-in's", asked))
		return
	}
	tenant, path, _ := strings.Cut(strings.TrimPrefix(endpoint.Path, "/"), "/")
	version := "" // of Entra's endpoints of the first version the stand-in has none
	if strings.Contains(path, "v2.0") {
		version = "/v2.0"
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"tenant_discovery_endpoint": "https://" + endpoint.Host + "/" + tenant + version + "/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata":                  s.clouds(),
		"stand_in":                  standIn,
	})
}
