//go:build linux

package node

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// clusterDomain is what names of Services end in.
const clusterDomain = "cluster.local"

// names is a small DNS server: it knows the addresses of Services and of names
// that it is told, each with one IPv4 address, and no other name.
type names struct {
	conn   net.PacketConn
	client kubernetes.Interface

	mu    sync.Mutex
	hosts map[string]string // guarded by mu
}

// startNames has the node's names answered until it ends.
func (n *Node) startNames(ctx context.Context) error {
	conn, err := within(n, func() (net.PacketConn, error) {
		return new(net.ListenConfig).ListenPacket(ctx, "udp", dnsAddress+":53")
	})
	if err != nil {
		return fmt.Errorf("listening for DNS: %w", err)
	}
	n.names = &names{conn: conn, client: n.client, hosts: make(map[string]string)}
	go n.names.run(context.WithoutCancel(ctx))
	return nil
}

func (s *names) close() { _ = s.conn.Close() }

func (s *names) set(name, address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hosts[strings.ToLower(name)] = address
}

func (s *names) run(ctx context.Context) {
	buffer := make([]byte, 4096)
	for {
		n, from, err := s.conn.ReadFrom(buffer)
		if err != nil {
			return // closed
		}
		question := append([]byte(nil), buffer[:n]...)
		go func() {
			if answer, err := s.answer(ctx, question); err == nil {
				_, _ = s.conn.WriteTo(answer, from) // who got none asks again
			}
		}()
	}
}

// answer builds the answer to a packet with one question. What is no question
// gets none.
func (s *names) answer(ctx context.Context, packet []byte) ([]byte, error) {
	var parser dnsmessage.Parser
	header, err := parser.Start(packet)
	if err != nil {
		return nil, err
	}
	question, err := parser.Question()
	if err != nil {
		return nil, err
	}
	address, known := s.lookUp(ctx, strings.ToLower(strings.TrimSuffix(question.Name.String(), ".")))
	reply := dnsmessage.Header{
		ID: header.ID, Response: true, Authoritative: true,
		RecursionDesired: header.RecursionDesired, RecursionAvailable: true,
	}
	if !known {
		reply.RCode = dnsmessage.RCodeNameError
	}
	builder := dnsmessage.NewBuilder(nil, reply)
	if err := builder.StartQuestions(); err != nil {
		return nil, err
	}
	if err := builder.Question(question); err != nil {
		return nil, err
	}
	if err := builder.StartAnswers(); err != nil {
		return nil, err
	}
	if known && question.Type == dnsmessage.TypeA { // of any other type there is nothing
		resource := dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: 1}
		if err := builder.AResource(resource, dnsmessage.AResource{A: address.As4()}); err != nil {
			return nil, err
		}
	}
	return builder.Finish()
}

// lookUp finds the address of a name that was told, or of a Service.
func (s *names) lookUp(ctx context.Context, name string) (netip.Addr, bool) {
	s.mu.Lock()
	host, known := s.hosts[name]
	s.mu.Unlock()
	if !known {
		host = s.service(ctx, name)
	}
	address, err := netip.ParseAddr(host)
	return address, err == nil && address.Is4()
}

// service returns the cluster IP of SERVICE.NAMESPACE.svc.cluster.local, if
// there is one.
func (s *names) service(ctx context.Context, name string) string {
	rest, is := strings.CutSuffix(name, ".svc."+clusterDomain)
	service, namespace, two := strings.Cut(rest, ".")
	if !is || !two || strings.Contains(namespace, ".") {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	found, err := s.client.CoreV1().Services(namespace).Get(ctx, service, metav1.GetOptions{})
	if err != nil {
		return ""
	}
	return found.Spec.ClusterIP
}
