// Package load measures issuer-sync under load, always beside a yardstick in
// the same run: machines differ, ratios less so.
package load

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Result is what one measurement showed.
type Result struct {
	Answers   int
	PerSecond float64       // answers
	P99       time.Duration // of an answer's latency
}

// Target is a server to load.
type Target struct {
	Address string      // host:port
	Path    string      // with the query
	TLS     *tls.Config // nil is plain HTTP
	// Body is JSON to POST; nil is a GET, with Metadata: true, which the proxy
	// wants and nobody else minds.
	Body []byte
}

func (t Target) dial(ctx context.Context) (net.Conn, error) {
	if t.TLS == nil {
		return new(net.Dialer).DialContext(ctx, "tcp", t.Address)
	}
	return (&tls.Dialer{Config: t.TLS}).DialContext(ctx, "tcp", t.Address)
}

// request is what goes over the wire.
func (t Target) request() []byte {
	if t.Body == nil {
		return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nMetadata: true\r\n\r\n", t.Path, t.Address)
	}
	header := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
		t.Path, t.Address, len(t.Body))
	return append(header, t.Body...)
}

// Load asks the target over a number of keep-alive connections for a while, at
// least once over each. It parses no more of an answer than it must, so that the
// server is what is measured. An answer other than 200 is an error.
func Load(ctx context.Context, target Target, connections int, duration time.Duration) (Result, error) {
	latencies := make([][]time.Duration, connections)
	faults := make([]error, connections)
	var opened, all sync.WaitGroup
	opened.Add(connections)
	begin := make(chan struct{})
	for i := range connections {
		all.Go(func() {
			latencies[i], faults[i] = ask(ctx, target, opened.Done, begin, duration)
		})
	}
	opened.Wait()
	start := time.Now()
	close(begin)
	all.Wait()
	elapsed := time.Since(start)
	if err := errors.Join(faults...); err != nil {
		return Result{}, err
	}
	merged := slices.Concat(latencies...)
	slices.Sort(merged)
	return Result{
		Answers:   len(merged),
		PerSecond: float64(len(merged)) / elapsed.Seconds(),
		P99:       merged[len(merged)*99/100],
	}, nil
}

// ask uses one connection. opened is called once, whatever happens.
func ask(ctx context.Context, target Target, opened func(), begin <-chan struct{}, duration time.Duration) ([]time.Duration, error) {
	conn, err := target.dial(ctx)
	if err != nil {
		opened()
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // nothing is lost
	request := target.request()
	reader := bufio.NewReaderSize(conn, 16<<10)
	exchange := func() error {
		if _, err := conn.Write(request); err != nil {
			return err
		}
		return readAnswer(reader)
	}
	err = exchange() // the handshake is not measured
	opened()
	if err != nil {
		return nil, err
	}
	<-begin
	var latencies []time.Duration
	for end := time.Now().Add(duration); ; {
		before := time.Now()
		if err := exchange(); err != nil {
			return nil, err
		}
		after := time.Now()
		latencies = append(latencies, after.Sub(before))
		if after.After(end) || ctx.Err() != nil {
			return latencies, ctx.Err()
		}
	}
}

// readAnswer reads one answer with a Content-Length.
func readAnswer(reader *bufio.Reader) error {
	status, err := reader.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("answer %q; want 200", strings.TrimSpace(string(status)))
	}
	length := -1
	for {
		line, err := reader.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if name, value, _ := bytes.Cut(line, []byte(":")); textproto.CanonicalMIMEHeaderKey(string(name)) == "Content-Length" {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return errors.New("an answer without Content-Length")
	}
	_, err = io.CopyN(io.Discard, reader, int64(length))
	return err
}
