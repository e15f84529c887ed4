package mutate

import (
	"fmt"
	"slices"
	"strings"
)

// Cloud is one of Azure's clouds: whom its workloads ask for access tokens,
// and what that authority wants as the audience of theirs.
type Cloud struct {
	Name          string // as in AZURE_ENVIRONMENT
	AuthorityHost string // a URL
	Audience      string // of the projected token
}

// Clouds lists the clouds there are, the public one first.
func Clouds() []Cloud {
	return []Cloud{
		{"AzurePublicCloud", "https://login.microsoftonline.com/", "api://AzureADTokenExchange"},
		{"AzureUSGovernmentCloud", "https://login.microsoftonline.us/", "api://AzureADTokenExchangeUSGov"},
		{"AzureChinaCloud", "https://login.chinacloudapi.cn/", "api://AzureADTokenExchangeChina"},
	}
}

// ParseCloud finds a cloud by its name, in any case, as Azure's own libraries
// do; no name means the public cloud.
func ParseCloud(name string) (Cloud, error) {
	clouds := Clouds()
	if name == "" {
		return clouds[0], nil
	}
	if i := slices.IndexFunc(clouds, func(c Cloud) bool { return strings.EqualFold(c.Name, name) }); i >= 0 {
		return clouds[i], nil
	}
	names := make([]string, len(clouds))
	for i, cloud := range clouds {
		names[i] = cloud.Name
	}
	return Cloud{}, fmt.Errorf("cloud %q is unknown; want one of %s", name, strings.Join(names, ", "))
}
