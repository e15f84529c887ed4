package redirect

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	tableName = "issuer-sync-proxy"
	// trialName is that of a table which never comes to be; see missing.
	trialName = "issuer-sync-proxy-trial"
	chainName = "output"
)

// Apply writes the rule, in place of the one that was written before, in one
// transaction: there is no moment without a rule, and after an error nothing has
// changed. Errors say what is missing, of the container, the network or the
// kernel, and what works without it.
func Apply(ctx context.Context, rule Rule) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := rule.check()
	if err == nil {
		err = findRoute(ctx, rule.Address)
	}
	if err == nil {
		deadline, _ := ctx.Deadline()
		err = write(rule, nftables.WithSockOptions(func(conn *netlink.Conn) error { return conn.SetDeadline(deadline) }))
	}
	if err != nil {
		return fmt.Errorf("redirecting the metadata endpoint: %w", err)
	}
	return nil
}

// findRoute returns an error if nobody can connect to the address. The rule
// would not help: the kernel looks for a route before it asks the output hook
// (ip_route_connect in net/ipv4/tcp_ipv4.c). UDP finds the same route, and
// sends nothing.
func findRoute(ctx context.Context, address netip.Addr) error {
	conn, err := new(net.Dialer).DialContext(ctx, "udp4", netip.AddrPortFrom(address, 1).String())
	if err != nil {
		return fmt.Errorf("there is no route to %s, and what has no route is not redirected either; give the pod an IPv4 default route, %s: %w", address, instead, err)
	}
	return conn.Close()
}

func write(rule Rule, options ...nftables.ConnOption) error {
	conn, err := nftables.New(options...)
	if err != nil {
		return explain(err)
	}
	// A kernel without nf_tables answers a batch once, and not for each message,
	// for which Flush would wait.
	if _, err := conn.ListTablesOfFamily(nftables.TableFamilyIPv4); err != nil {
		return explainNone(err)
	}
	table := &nftables.Table{Name: tableName, Family: nftables.TableFamilyIPv4}
	conn.AddTable(table) // or there would be none to delete
	conn.DelTable(table)
	conn.AddTable(table)
	chain := conn.AddChain(newChain(table))
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: rule.expressions()})
	if err := conn.Flush(); err != nil {
		if lacking(err) {
			return explainPart(err, missing(conn, rule))
		}
		return explain(err)
	}
	return nil
}

// newChain is the chain that sees what local processes send. It comes ahead of
// the usual nat chains: where a service mesh catches every connection, those to
// the metadata endpoint are caught here first.
func newChain(table *nftables.Table) *nftables.Chain {
	return &nftables.Chain{
		Table:    table,
		Name:     chainName,
		Type:     nftables.ChainTypeNAT,
		Hooknum:  nftables.ChainHookOutput,
		Priority: new(*nftables.ChainPriorityNATDest - 1),
	}
}

// A part of the rule needs something of the kernel.
type part struct {
	needs string
	exprs []expr.Any
}

func (r Rule) expressions() (all []expr.Any) {
	for _, p := range r.parts() {
		all = append(all, p.exprs...)
	}
	return all
}

// parts are the rule
//
//	ip daddr ADDRESS tcp dport PORT meta skuid != UID redirect to :PROXYPORT
//
// where redirect, in the output hook, means 127.0.0.1.
func (r Rule) parts() []part {
	const register = 1
	equal := func(data []byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: data} }
	return []part{
		{"the expressions payload and cmp of nf_tables", []expr.Any{
			// RFC 791 section 3.1: the destination address.
			&expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
			equal(r.Address.AsSlice()),
		}},
		{"the expression meta l4proto of nf_tables", []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register},
			equal([]byte{unix.IPPROTO_TCP}),
			// RFC 9293 section 3.1: the destination port.
			&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			equal(binaryutil.BigEndian.PutUint16(r.Port)),
		}},
		{"the expression meta skuid of nf_tables", []expr.Any{
			&expr.Meta{Key: expr.MetaKeySKUID, Register: register},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: binaryutil.NativeEndian.PutUint32(r.ProxyUID)},
		}},
		{"the expression redirect of nf_tables (CONFIG_NFT_REDIR, module nft_redir)", []expr.Any{
			&expr.Immediate{Register: register, Data: binaryutil.BigEndian.PutUint16(r.ProxyPort)},
			&expr.Redir{RegisterProtoMin: register},
		}},
	}
}

// missing says what the kernel lacks, "" if nothing was found: it tries each
// thing alone, in a table that is gone at the end of the same transaction.
func missing(conn *nftables.Conn, rule Rule) string {
	table := &nftables.Table{Name: trialName, Family: nftables.TableFamilyIPv4}
	try := func(add func()) error {
		conn.AddTable(table)
		add()
		conn.DelTable(table)
		return conn.Flush()
	}
	if try(func() {}) != nil {
		return "IPv4 tables of nf_tables (CONFIG_NF_TABLES_IPV4)"
	}
	if try(func() { conn.AddChain(newChain(table)) }) != nil {
		return "nat chains of nf_tables (CONFIG_NFT_NAT, module nft_chain_nat)"
	}
	for _, p := range rule.parts() {
		err := try(func() {
			conn.AddRule(&nftables.Rule{Table: table, Chain: conn.AddChain(newChain(table)), Exprs: p.exprs})
		})
		if err != nil {
			return p.needs
		}
	}
	return ""
}
