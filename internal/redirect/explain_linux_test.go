package redirect_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"github.com/mdlayher/netlink/nlenc"
	"golang.org/x/sys/unix"

	"github.com/issuer-sync/issuer-sync/internal/redirect"
	"github.com/issuer-sync/issuer-sync/internal/redirect/netnstest"
)

const (
	envMode = "or use env mode, which needs no redirect: --proxy-mode=env of the webhook"
	nfTable = unix.NFNL_SUBSYS_NFTABLES << 8
)

// kernel is one that lacks something: answer says what it says to a message, 0
// for done. It answers batches as net/netfilter/nfnetlink.c does, each message
// that asks for it, and a message that adds something after an error too.
func kernel(answer func(netlink.Message) unix.Errno) nftables.ConnOption {
	var queue []netlink.Message
	return nftables.WithTestDial(func(sent []netlink.Message) ([]netlink.Message, error) {
		for _, message := range sent {
			if message.Header.Flags&netlink.Acknowledge == 0 && message.Header.Flags&netlink.Dump == 0 {
				continue
			}
			queue = append(queue, reply(message, answer(message)))
		}
		if len(queue) == 0 {
			return nil, errors.New("the kernel was waited for, and had nothing to say")
		}
		next := queue[:1]
		queue = queue[1:]
		return next, nil
	})
}

// reply is an error, an acknowledgement, or the end of an empty list.
func reply(message netlink.Message, errno unix.Errno) netlink.Message {
	listing := message.Header.Flags&netlink.Dump != 0
	message.Header.Flags = 0
	if listing && errno == 0 {
		message.Header.Type, message.Header.Flags, message.Data = netlink.Done, netlink.Multi, nil
		return message
	}
	message.Header.Type = netlink.Error
	message.Data = append(nlenc.Int32Bytes(-int32(errno)), message.Data...)
	return message
}

// says answers messages of a kind that hold some bytes with an error.
func says(kind uint16, content string, errno unix.Errno) func(netlink.Message) unix.Errno {
	return func(message netlink.Message) unix.Errno {
		if message.Header.Type == netlink.HeaderType(nfTable|kind) && bytes.Contains(message.Data, []byte(content)) {
			return errno
		}
		return 0
	}
}

func TestMissingFeatures(t *testing.T) {
	const (
		load      = "; have the node load it, " + envMode
		notFound  = "conn.Receive: netlink receive: no such file or directory"
		unknown   = "conn.Receive: netlink receive: operation not supported"
		metaLoads = "\x08\x00\x02\x00\x00\x00\x00" // NFTA_META_KEY, all but the last byte of its value
	)
	for name, c := range map[string]struct {
		answer func(netlink.Message) unix.Errno
		want   string
	}{
		"everything is there": {says(0, "never sent", unix.ENOENT), ""},
		"no nf_tables": {
			says(unix.NFT_MSG_GETTABLE, "", unix.EINVAL),
			"the kernel lacks nf_tables (CONFIG_NF_TABLES, module nf_tables)" + load + ": netlink receive: invalid argument",
		},
		"no netfilter at all": {
			says(unix.NFT_MSG_GETTABLE, "", unix.EPROTONOSUPPORT),
			"the kernel lacks netfilter netlink, which sandboxes such as gVisor do not have" + load + ": netlink receive: protocol not supported",
		},
		"no IPv4 tables": {
			says(unix.NFT_MSG_NEWTABLE, "", unix.EOPNOTSUPP),
			"the kernel lacks IPv4 tables of nf_tables (CONFIG_NF_TABLES_IPV4)" + load + ": " + unknown + "\nnetlink receive: operation not supported",
		},
		"no nat chains": {
			says(unix.NFT_MSG_NEWCHAIN, "nat\x00", unix.ENOENT),
			"the kernel lacks nat chains of nf_tables (CONFIG_NFT_NAT, module nft_chain_nat)" + load + ": " + notFound,
		},
		"no redirect": {
			says(unix.NFT_MSG_NEWRULE, "redir\x00", unix.ENOENT),
			"the kernel lacks the expression redirect of nf_tables (CONFIG_NFT_REDIR, module nft_redir)" + load + ": " + notFound,
		},
		"no payload": {
			says(unix.NFT_MSG_NEWRULE, "payload\x00", unix.ENOENT),
			"the kernel lacks the expressions payload and cmp of nf_tables" + load + ": " + notFound,
		},
		"no skuid": {
			says(unix.NFT_MSG_NEWRULE, metaLoads+"\x0a", unix.EOPNOTSUPP),
			"the kernel lacks the expression meta skuid of nf_tables" + load + ": " + unknown,
		},
		"no l4proto": {
			says(unix.NFT_MSG_NEWRULE, metaLoads+"\x10", unix.EOPNOTSUPP),
			"the kernel lacks the expression meta l4proto of nf_tables" + load + ": " + unknown,
		},
		"something that nothing alone needs": {
			says(unix.NFT_MSG_NEWRULE, "issuer-sync-proxy\x00", unix.ENOENT),
			notFound + "; " + envMode,
		},
		"another answer": {
			says(unix.NFT_MSG_NEWRULE, "", unix.ENOMEM),
			"conn.Receive: netlink receive: cannot allocate memory; " + envMode,
		},
		"an answer that comes too late": {
			nil,
			"the kernel did not answer in time; try again, " + envMode + ": netlink receive: i/o timeout",
		},
	} {
		t.Run(name, func(t *testing.T) {
			option := nftables.WithTestDial(func([]netlink.Message) ([]netlink.Message, error) { return nil, os.ErrDeadlineExceeded })
			if c.answer != nil {
				option = kernel(c.answer)
			}
			got := ""
			if err := redirect.Write(shipped(), option); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// What the kernel of TestMissingFeatures says is what the real one says to what
// it does not know.
func TestKernelsAnswers(t *testing.T) {
	t.Parallel()
	netnstest.Enter(t)
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const subsystem = unix.NFNL_SUBSYS_COUNT << 8 // none has this number
	_, err = conn.Execute(netlink.Message{Header: netlink.Header{Type: subsystem, Flags: netlink.Request | netlink.Dump}, Data: make([]byte, 4)})
	if !errors.Is(err, unix.EINVAL) {
		t.Errorf("a question to a subsystem that it lacks: %v; want EINVAL", err)
	}

	for name, c := range map[string]struct {
		family nftables.TableFamily
		kind   nftables.ChainType
		want   unix.Errno
	}{
		"a family that it lacks":        {unix.NFPROTO_NUMPROTO - 1, nftables.ChainTypeNAT, unix.EOPNOTSUPP},
		"a type of chain that it lacks": {nftables.TableFamilyIPv4, "nat2", unix.ENOENT},
	} {
		conn := &nftables.Conn{}
		table := conn.AddTable(&nftables.Table{Name: "test", Family: c.family})
		conn.AddChain(&nftables.Chain{
			Table: table, Name: "test", Type: c.kind,
			Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest,
		})
		if err := conn.Flush(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v; want %v", name, err, c.want)
		}
	}
}

func TestApplyWithoutCapability(t *testing.T) {
	t.Parallel()
	pod(t)
	dropNetAdmin(t)
	const want = "redirecting the metadata endpoint: capability NET_ADMIN is missing, and the uid is 0; " +
		"want uid 0 and NET_ADMIN in securityContext.capabilities.add, as the webhook sets for azwi-proxy-init; " +
		envMode + ": netlink receive: operation not permitted"
	if err := redirect.Apply(t.Context(), shipped()); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// dropNetAdmin takes the capability from the calling thread alone.
func dropNetAdmin(t *testing.T) {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	data[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	if err := unix.Capset(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
}

func TestApplyEndsWithItsContext(t *testing.T) {
	t.Parallel()
	pod(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := redirect.Apply(ctx, shipped()); !errors.Is(err, context.Canceled) {
		t.Errorf("%v; want it canceled", err)
	}
}
