package metadata_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/metadata"
	"github.com/issuer-sync/issuer-sync/pkg/exchange"
)

// TestBodyThatEndsEarly gets an answer, and reaches no source.
func TestBodyThatEndsEarly(t *testing.T) {
	s := new(source)
	connection := dial(t, listen(t, newHandler(t, s), quiet()))
	if _, err := io.WriteString(connection, get(asked, "Content-Length: 10\r\n")+"short"); err != nil {
		t.Fatal(err)
	}
	if err := connection.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	const want = `{"error":"invalid_request","error_description":"the body ends before its Content-Length"}`
	if err != nil || response.StatusCode != http.StatusBadRequest || !response.Close || string(body) != want {
		t.Errorf("%s, close %t, %s, %v", response.Status, response.Close, body, err)
	}
	if n := s.asked.Load(); n != 0 {
		t.Errorf("the source was asked %d times", n)
	}
}

// TestHeaderLimit: the server's bound holds for this endpoint.
func TestHeaderLimit(t *testing.T) {
	address := listen(t, newHandler(t, new(source)), quiet())
	if a := send(t, address, get(asked, "X: "+strings.Repeat("x", 8<<10)+"\r\n")); a.status != http.StatusOK {
		t.Errorf("a header of 8 KiB: %v", a)
	}
	connection := dial(t, address)
	if _, err := io.WriteString(connection, get(asked+"&x="+strings.Repeat("x", 64<<10))); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a query of 64 KiB: %s", response.Status)
	}
}

// TestCallerLeaves: the source is told that nobody waits, with and without a
// body on the request.
func TestCallerLeaves(t *testing.T) {
	for name, request := range map[string]string{
		"plain": get(asked), "with a body": get(asked, "Content-Length: 4\r\n") + "a=bc",
	} {
		t.Run(name, func(t *testing.T) {
			entered, left := make(chan struct{}), make(chan struct{})
			s := &source{does: func(ctx context.Context, _ exchange.Request) (exchange.AccessToken, error) {
				close(entered)
				<-ctx.Done()
				close(left)
				return exchange.AccessToken{}, &exchange.Error{Kind: exchange.Unavailable}
			}}
			connection := dial(t, listen(t, newHandler(t, s), quiet()))
			if _, err := io.WriteString(connection, request); err != nil {
				t.Fatal(err)
			}
			<-entered
			if err := connection.Close(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-left:
			case <-time.After(5 * time.Second):
				t.Fatal("the source was not told")
			}
		})
	}
}

// TestConcurrent: each of many callers at once gets the answer to what it asked.
func TestConcurrent(t *testing.T) {
	s := &source{does: func(_ context.Context, r exchange.Request) (exchange.AccessToken, error) {
		if strings.HasPrefix(r.Scope, "bad") {
			return exchange.AccessToken{}, &exchange.Error{Kind: exchange.Rejected, Detail: r.Scope + " " + r.Client}
		}
		token := issue(time.Now())
		token.Value = exchange.NewSecret("token of " + r.Scope + " " + r.Client)
		return token, nil
	}}
	address := listen(t, newHandler(t, s), quiet())
	var callers sync.WaitGroup
	for n := range 64 {
		callers.Go(func() {
			id := fmt.Sprintf("%08x-0000-0000-0000-000000000000", n)
			for i := range 30 {
				resource, status := fmt.Sprintf("good%d-%d-%s", n, i, strings.Repeat("x", (n*i)%97)), http.StatusOK
				part := fmt.Sprintf(`"access_token":"token of %s/.default %s"`, resource, id)
				if i%3 == 0 {
					resource, status = fmt.Sprintf("bad%d-%d", n, i), http.StatusBadRequest
					part = fmt.Sprintf("%s/.default %s", resource, id)
				}
				a := send(t, address, get(metadata.TokenPath+"?resource="+resource+"&client_id="+id))
				if a.status != status || !strings.Contains(a.body, part) {
					t.Errorf("want %d %s, got %v", status, part, a)
				}
			}
		})
	}
	callers.Wait()
}
