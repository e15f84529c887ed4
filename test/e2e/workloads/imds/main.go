// Command imds asks the metadata endpoint for access tokens as the oldest of
// Azure's SDKs do, with nothing but an HTTP client:
//
//	imds [-resource URL] [-client-id GUID]
//	imds -every 200ms -for 60s [-fresh]
//
// The endpoint is that of AZURE_POD_IDENTITY_AUTHORITY_HOST, or
// http://169.254.169.254. It prints the claims appid and aud of the token, and
// never the token. With -every it asks again and again, each time over a new
// connection and never twice for one answer, and at its end or on SIGTERM prints
// a summary in JSON. With -fresh each request names another resource, so that no
// cache can answer it.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/issuer-sync/issuer-sync/test/e2e/workloads/load"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	loop := load.Flags(flag.CommandLine)
	c := client{
		host: cmp.Or(os.Getenv("AZURE_POD_IDENTITY_AUTHORITY_HOST"), "http://169.254.169.254"),
		// No proxy of the environment, which would ask the endpoint of its own
		// machine; and no old connection, on which a request is tried twice.
		http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		next: time.Now().UnixNano(),
	}
	flag.StringVar(&c.resource, "resource", "https://management.azure.com/", "what the access token is for")
	flag.StringVar(&c.clientID, "client-id", "", "whose access token; without it: the pod's")
	flag.BoolVar(&c.fresh, "fresh", false, "name another resource each time, instead of -resource")
	flag.Parse()
	err := loop.Run(ctx, os.Stdout, c.ask)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

type client struct {
	host               string
	resource, clientID string
	fresh              bool
	http               *http.Client
	next               int64 // of the fresh resources, which no earlier process has named
}

// ask asks once, and returns the claims.
func (c *client) ask(ctx context.Context) (string, error) {
	query := url.Values{"api-version": {"2018-02-01"}, "resource": {c.resource}}
	if c.fresh {
		c.next++
		query.Set("resource", fmt.Sprintf("https://r-%d.example", c.next))
	}
	if c.clientID != "" {
		query.Set("client_id", c.clientID)
	}
	address := strings.TrimSuffix(c.host, "/") + "/metadata/identity/oauth2/token?" + query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return "", fmt.Errorf("asking for an access token: %w", err)
	}
	request.Header.Set("Metadata", "true")
	response, err := c.http.Do(request)
	if err != nil {
		return "", fmt.Errorf("asking for an access token: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return "", fmt.Errorf("reading the answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("asking for an access token: %s: %s", response.Status, body)
	}
	return claimsOf(body, query.Get("resource"))
}

// claimsOf wants an access token for the resource.
func claimsOf(body []byte, resource string) (string, error) {
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", fmt.Errorf("reading the answer: %w", err)
	}
	token, err := jwt.ParseSigned(answer.Token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return "", fmt.Errorf("reading the access token: %w", err)
	}
	var claims struct {
		App      string `json:"appid"`
		Audience string `json:"aud"`
	}
	// Whoever takes the token verifies it; here it says whose it is.
	if err := token.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return "", fmt.Errorf("reading the access token: %w", err)
	}
	if claims.Audience != resource {
		return "", fmt.Errorf("an access token for %q; want one for %q", claims.Audience, resource)
	}
	return fmt.Sprintf("appid=%s aud=%s", claims.App, claims.Audience), nil
}
