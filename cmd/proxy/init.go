package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"

	"github.com/issuer-sync/issuer-sync/internal/redirect"
)

func initCommand() command {
	return command{
		name: "init",
		does: "redirect the metadata endpoint to the proxy, and exit; needs uid 0 and NET_ADMIN",
		settings: []setting{
			{flag: "proxy-port", env: "PROXY_PORT", fallback: defaultPort, usage: "the port that the proxy listens on"},
			{flag: "proxy-uid", env: "PROXY_UID", fallback: "1501", usage: "the proxy's user: its requests are not redirected"},
			{flag: "metadata-ip", env: "METADATA_IP", fallback: "169.254.169.254", usage: "the metadata endpoint's IPv4 address"},
			{flag: "metadata-port", env: "METADATA_PORT", fallback: "80", usage: "the metadata endpoint's port"},
			versionSetting(),
		},
		prepare: prepareInit,
	}
}

func prepareInit(o *options, stdout, _ io.Writer) operation {
	rule := redirect.Rule{
		ProxyPort: o.port("proxy-port"),
		ProxyUID:  o.uid("proxy-uid"),
		Address:   o.metadataAddress(),
		Port:      o.port("metadata-port"),
	}
	return func(ctx context.Context) error {
		if err := redirect.Apply(ctx, rule); err != nil {
			return err
		}
		fmt.Fprintf(stdout, "requests to %s:%d now go to port %d, but for those of uid %d\n", rule.Address, rule.Port, rule.ProxyPort, rule.ProxyUID)
		return nil
	}
}

func (o *options) metadataAddress() netip.Addr {
	const key = "metadata-ip"
	address, err := netip.ParseAddr(o.text(key))
	if err != nil {
		o.fault(key, fmt.Errorf("%q; want an IPv4 address, such as 169.254.169.254", o.text(key)))
		return netip.Addr{}
	}
	o.fault(key, redirect.CheckAddress(address))
	return address
}
