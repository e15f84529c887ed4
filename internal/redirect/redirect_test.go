package redirect_test

import (
	"net/netip"
	"testing"

	"github.com/issuer-sync/issuer-sync/internal/redirect"
)

func TestCheckAddress(t *testing.T) {
	const host = "; want the IPv4 address of one other host, such as 169.254.169.254"
	const six = " is IPv6; want an IPv4 address: Azure's metadata endpoint has no other, and fd00:ec2::254, which is AWS's, is not claimed"
	for text, want := range map[string]string{
		"169.254.169.254":        "",
		"10.0.0.1":               "",
		"fd00:ec2::254":          `"fd00:ec2::254"` + six,
		"::ffff:169.254.169.254": `"::ffff:169.254.169.254"` + six,
		"0.0.0.0":                `"0.0.0.0"` + host,
		"127.0.0.2":              `"127.0.0.2"` + host,
		"224.0.0.1":              `"224.0.0.1"` + host,
		"255.255.255.255":        `"255.255.255.255"` + host,
		"":                       `"invalid IP"` + host,
	} {
		var address netip.Addr
		if text != "" {
			address = netip.MustParseAddr(text)
		}
		got := ""
		if err := redirect.CheckAddress(address); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q:\ngot  %s\nwant %s", text, got, want)
		}
	}
}

// Nothing is asked of the kernel for a rule that cannot be meant.
func TestApplyRefuses(t *testing.T) {
	valid := redirect.Rule{Address: netip.MustParseAddr("169.254.169.254"), Port: 80, ProxyPort: 8000, ProxyUID: 1501}
	for name, c := range map[string]struct {
		change func(*redirect.Rule)
		want   string
	}{
		"no port":         {func(r *redirect.Rule) { r.Port = 0 }, "port 0; want 1 to 65535"},
		"no proxy's port": {func(r *redirect.Rule) { r.ProxyPort = 0 }, "port 0; want 1 to 65535"},
		"root":            {func(r *redirect.Rule) { r.ProxyUID = 0 }, "uid 0; want the proxy's own"},
		"loopback": {
			func(r *redirect.Rule) { r.Address = netip.MustParseAddr("127.0.0.1") },
			`address "127.0.0.1"; want the IPv4 address of one other host, such as 169.254.169.254`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			rule := valid
			c.change(&rule)
			want := "redirecting the metadata endpoint: " + c.want
			if err := redirect.Apply(t.Context(), rule); err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}
