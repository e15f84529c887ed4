// Package redirect has the kernel send to the proxy what a pod sends to the
// metadata endpoint: one nftables rule in a table of its own, written by
// netlink, without the nft or iptables programs.
//
// It claims TCP over IPv4 to one address and one port, from every process but
// the proxy's own, and touches no other table. It opens no port and answers
// nothing: that is the proxy's work.
package redirect

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Rule says what is redirected.
type Rule struct {
	// Address is the metadata endpoint's; see [CheckAddress].
	Address netip.Addr
	// Port is the metadata endpoint's, 1 to 65535.
	Port uint16
	// ProxyPort is where the proxy listens on 127.0.0.1, 1 to 65535.
	ProxyPort uint16
	// ProxyUID is the user whose requests are not redirected: the proxy's own,
	// and not 0, because root is the user of many other processes.
	ProxyUID uint32
}

// timeout bounds what the kernel does at once, or never.
const timeout = 5 * time.Second

// CheckAddress returns an error unless the address can be a metadata
// endpoint's: IPv4, of one host that is not this one.
func CheckAddress(address netip.Addr) error {
	switch {
	case address.Is6():
		return fmt.Errorf("%q is IPv6; want an IPv4 address: Azure's metadata endpoint has no other, and fd00:ec2::254, which is AWS's, is not claimed", address)
	case !address.Is4(), address.IsUnspecified(), address.IsMulticast(), address.IsLoopback(), address == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("%q; want the IPv4 address of one other host, such as 169.254.169.254", address)
	default:
		return nil
	}
}

func (r Rule) check() error {
	switch {
	case r.Port == 0 || r.ProxyPort == 0:
		return errors.New("port 0; want 1 to 65535")
	case r.ProxyUID == 0:
		return errors.New("uid 0; want the proxy's own")
	}
	if err := CheckAddress(r.Address); err != nil {
		return fmt.Errorf("address %w", err)
	}
	return nil
}
