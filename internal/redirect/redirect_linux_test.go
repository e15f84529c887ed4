package redirect_test

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"

	"github.com/issuer-sync/issuer-sync/internal/redirect"
	"github.com/issuer-sync/issuer-sync/internal/redirect/netnstest"
)

const (
	proxyUID = 1501
	metadata = "169.254.169.254:80"
)

func shipped() redirect.Rule {
	return redirect.Rule{Address: netip.MustParseAddr("169.254.169.254"), Port: 80, ProxyPort: 8000, ProxyUID: proxyUID}
}

// pod enters a namespace in which everything that could be reached answers with
// its name.
func pod(t *testing.T) {
	t.Helper()
	netnstest.Enter(t)
	for _, address := range []string{"169.254.169.253", "169.254.169.254", "fd00:ec2::254 nodad"} {
		netnstest.IP(t, "address add dev lo "+address)
	}
	for address, name := range map[string]string{
		metadata:             "the metadata endpoint",
		"169.254.169.254:81": "another port",
		"169.254.169.253:80": "another address",
		"[fd00:ec2::254]:80": "the IPv6 endpoint of AWS",
		"127.0.0.1:80":       "loopback",
		"127.0.0.1:8000":     "the proxy",
		"127.0.0.1:8001":     "the proxy's other port",
	} {
		netnstest.Serve(t, address, name)
	}
}

func apply(t *testing.T, rule redirect.Rule) {
	t.Helper()
	if err := redirect.Apply(t.Context(), rule); err != nil {
		t.Fatal(err)
	}
}

func wantAnswer(t *testing.T, uid uint32, address, want string) {
	t.Helper()
	if got, err := netnstest.Ask(t, uid, address); err != nil || got != want {
		t.Errorf("uid %d at %s: answered %q, %v; want %q", uid, address, got, err, want)
	}
}

func TestApplyRedirects(t *testing.T) {
	t.Parallel()
	pod(t)
	wantAnswer(t, 0, metadata, "the metadata endpoint")
	apply(t, shipped())
	for _, c := range []struct {
		uid           uint32
		address, want string
	}{
		{0, metadata, "the proxy"},
		{1000, metadata, "the proxy"},
		{proxyUID, metadata, "the metadata endpoint"},
		{1000, "169.254.169.254:81", "another port"},
		{1000, "169.254.169.253:80", "another address"},
		{1000, "127.0.0.1:80", "loopback"},
		{1000, "127.0.0.1:8000", "the proxy"},
		{1000, "[fd00:ec2::254]:80", "the IPv6 endpoint of AWS"},
	} {
		wantAnswer(t, c.uid, c.address, c.want)
	}
}

func TestApplyAgain(t *testing.T) {
	t.Parallel()
	t.Run("the same rule is one rule", func(t *testing.T) {
		t.Parallel()
		pod(t)
		apply(t, shipped())
		first := ruleSet(t)
		apply(t, shipped())
		if diff := cmp.Diff(first, ruleSet(t)); diff != "" {
			t.Errorf("applied again (-once +twice):\n%s", diff)
		}
		if len(first) != 1 || len(first[0].Rules) != 1 {
			t.Errorf("one rule was applied, there is %+v", first)
		}
		wantAnswer(t, 1000, metadata, "the proxy")
	})
	t.Run("another rule takes its place", func(t *testing.T) {
		t.Parallel()
		pod(t)
		apply(t, shipped())
		changed := shipped()
		changed.ProxyPort, changed.ProxyUID = 8001, 1502
		apply(t, changed)
		wantAnswer(t, proxyUID, metadata, "the proxy's other port")
		wantAnswer(t, 1502, metadata, "the metadata endpoint")
		changed.Port, changed.Address = 81, netip.MustParseAddr("169.254.169.253")
		apply(t, changed)
		wantAnswer(t, 1000, metadata, "the metadata endpoint")
	})
	t.Run("no connection slips through meanwhile", func(t *testing.T) {
		t.Parallel()
		pod(t)
		apply(t, shipped())
		stop := filepath.Join(t.TempDir(), "stop")
		client := exec.CommandContext(t.Context(), "bash", "-c",
			`until [ -e "$0" ]; do exec 3<>/dev/tcp/169.254.169.254/80; line=nobody; read -r -t 2 line <&3; echo "$line"; done`, stop)
		var out strings.Builder
		client.Stdout, client.Stderr = &out, &out
		if err := client.Start(); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			apply(t, shipped())
		}
		if err := os.WriteFile(stop, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := client.Wait(); err != nil {
			t.Fatal(err)
		}
		all, arrived := strings.Count(out.String(), "\n"), strings.Count(out.String(), "the proxy\n")
		if all != arrived || all < 20 {
			t.Errorf("%d of %d connections arrived at the proxy:\n%s", arrived, all, out.String())
		}
	})
}

func TestOtherTablesAreUntouched(t *testing.T) {
	t.Parallel()
	pod(t)
	// A service mesh that catches all, a table with the same name in another
	// family, and one of no base chain.
	mesh := func(table *nftables.Table, conn *nftables.Conn) {
		conn.AddRule(&nftables.Rule{
			Table: table, Chain: conn.AddChain(&nftables.Chain{
				Table: table, Name: "output", Type: nftables.ChainTypeNAT,
				Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest,
			}),
			Exprs: []expr.Any{
				&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{6}},
				&expr.Immediate{Register: 1, Data: binaryutil.BigEndian.PutUint16(8001)},
				&expr.Redir{RegisterProtoMin: 1},
			},
		})
	}
	add := func(name string, family nftables.TableFamily, fill func(*nftables.Table, *nftables.Conn)) {
		conn := &nftables.Conn{}
		fill(conn.AddTable(&nftables.Table{Name: name, Family: family}), conn)
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	nothing := func(*nftables.Table, *nftables.Conn) {}
	add("mesh", nftables.TableFamilyIPv4, mesh)
	add("issuer-sync-proxy", nftables.TableFamilyIPv6, nothing)
	add("issuer-sync-proxy-trial", nftables.TableFamilyIPv4, nothing)
	before := ruleSet(t)

	apply(t, shipped())
	apply(t, shipped())
	wantAnswer(t, 1000, metadata, "the proxy")
	wantAnswer(t, 1000, "169.254.169.253:80", "the proxy's other port")
	after := ruleSet(t)
	ours := 0
	for i, table := range after {
		if table.Name == "issuer-sync-proxy" && table.Family == nftables.TableFamilyIPv4 {
			ours = i
		}
	}
	if diff := cmp.Diff(before, append(after[:ours:ours], after[ours+1:]...)); diff != "" {
		t.Errorf("tables of others (-before +after):\n%s", diff)
	}

	// Whoever comes later comes behind, too.
	add("mesh too", nftables.TableFamilyIPv4, mesh)
	wantAnswer(t, 1000, metadata, "the proxy")
}

// A named table with all its rules. Handles are left out: they count what was
// written, and are no part of its meaning.
type table struct {
	Name   string
	Family nftables.TableFamily
	Rules  [][]expr.Any
}

func ruleSet(t *testing.T) (all []table) {
	t.Helper()
	conn := &nftables.Conn{}
	tables, err := conn.ListTables()
	if err != nil {
		t.Fatal(err)
	}
	chains, err := conn.ListChains()
	if err != nil {
		t.Fatal(err)
	}
	for _, listed := range tables {
		one := table{Name: listed.Name, Family: listed.Family}
		for _, chain := range chains {
			if chain.Table.Name != listed.Name || chain.Table.Family != listed.Family {
				continue
			}
			rules, err := conn.GetRules(listed, chain)
			if err != nil {
				t.Fatal(err)
			}
			for _, rule := range rules {
				one.Rules = append(one.Rules, rule.Exprs)
			}
		}
		all = append(all, one)
	}
	return all
}

// The kernel looks for a route before it asks for a redirect.
func TestRoutes(t *testing.T) {
	t.Parallel()
	t.Run("a default route is enough", func(t *testing.T) {
		t.Parallel()
		netnstest.Enter(t)
		netnstest.IP(t, "link add pod type veth peer name node")
		netnstest.IP(t, "link set pod up")
		netnstest.IP(t, "link set node up")
		netnstest.IP(t, "address add 10.0.0.2/24 dev pod")
		netnstest.IP(t, "route add default via 10.0.0.1")
		netnstest.Serve(t, "127.0.0.1:8000", "the proxy")
		apply(t, shipped())
		wantAnswer(t, 1000, metadata, "the proxy")
	})
	t.Run("without any, a redirect would not help and is refused", func(t *testing.T) {
		t.Parallel()
		netnstest.Enter(t)
		netnstest.Serve(t, "127.0.0.1:8000", "the proxy")
		const want = "redirecting the metadata endpoint: there is no route to 169.254.169.254, and what has no route is not redirected either; " +
			"give the pod an IPv4 default route, or use env mode, which needs no redirect: --proxy-mode=env of the webhook: " +
			"dial udp4 169.254.169.254:1: connect: network is unreachable"
		if err := redirect.Apply(t.Context(), shipped()); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
		if rules := ruleSet(t); len(rules) != 0 {
			t.Errorf("written nevertheless: %+v", rules)
		}
		// So it is.
		if err := redirect.Write(shipped()); err != nil {
			t.Fatal(err)
		}
		if got, err := netnstest.Ask(t, 1000, metadata); err == nil || !strings.Contains(err.Error(), "Network is unreachable") {
			t.Errorf("without a route: %q, %v", got, err)
		}
	})
}
