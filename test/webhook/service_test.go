package webhook_test

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// service does what a node does for a Service: it listens on the cluster IP and
// sends each connection to one of the replicas that are ready.
type service struct {
	listener    net.Listener
	connections atomic.Int64 // that were forwarded, ever

	mu        sync.Mutex // guards endpoints
	endpoints map[string]bool
}

func newService(t *testing.T, clusterIP string) *service {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(clusterIP, "0"))
	if err != nil {
		t.Fatalf("listening on the Service's cluster IP: %v", err)
	}
	s := &service{listener: listener, endpoints: map[string]bool{}}
	var connections sync.WaitGroup
	connections.Go(func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return // closed
			}
			connections.Go(func() { s.forward(connection) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		connections.Wait() // the API server and the replicas have ended before
	})
	return s
}

// port is the one of the Service: 443 is for root alone.
func (s *service) port() int64 { return int64(s.listener.Addr().(*net.TCPAddr).Port) }

// set adds or removes an endpoint. Connections that exist go on.
func (s *service) set(address string, ready bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ready {
		s.endpoints[address] = true
	} else {
		delete(s.endpoints, address)
	}
}

// pick returns an endpoint at random; none is "".
func (s *service) pick() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := rand.N(max(len(s.endpoints), 1))
	for address := range s.endpoints {
		if n--; n < 0 {
			return address
		}
	}
	return ""
}

// forward refuses the connection if nobody is there, and otherwise copies until
// both sides are done.
func (s *service) forward(client net.Conn) {
	address := s.pick()
	replica, err := net.Dial("tcp", address) //nolint:noctx // ends with the two connections
	if err != nil {
		_ = client.(*net.TCPConn).SetLinger(0)
		_ = client.Close()
		return
	}
	s.connections.Add(1)
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, replica}, {replica, client}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			_ = way[0].(*net.TCPConn).CloseWrite()
		})
	}
	both.Wait()
	_ = client.Close()
	_ = replica.Close()
}
