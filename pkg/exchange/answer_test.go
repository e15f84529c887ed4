package exchange_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/exchange"
)

func TestAccessTokenAnswers(t *testing.T) {
	for name, body := range map[string]string{
		"integers": good,
		"strings":  `{"token_type":"bearer","expires_in":"3599","ext_expires_in":"7199","access_token":"access"}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newClient(t, tokenFile(t), func(*http.Request) (reply, error) {
				time.Sleep(3 * time.Second) // the life begins when Entra was asked, not when it answered
				return answer(http.StatusOK, body), nil
			})
			began := time.Now()
			got, err := c.AccessToken(t.Context(), wanted())
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if got.Value.Reveal() != "access" || !got.IssuedAt.Equal(began) ||
				!got.ExpiresAt.Equal(began.Add(3599*time.Second)) || !got.ExtendedUntil.Equal(began.Add(7199*time.Second)) {
				t.Errorf("%s: got %+v", name, got)
			}
		})
	}
}

func TestEndIsToldByTheWallClock(t *testing.T) {
	c := newClient(t, tokenFile(t), func(*http.Request) (reply, error) { return answer(http.StatusOK, good), nil })
	got, err := c.AccessToken(t.Context(), wanted())
	if err != nil {
		t.Fatal(err)
	}
	if text := got.ExpiresAt.String(); strings.Contains(text, "m=") {
		t.Errorf("the end %q is told by the monotonic clock", text)
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	body := func(code string, number int) string {
		return fmt.Sprintf(`{"error":%q,"error_description":"AADSTS%d: secret text","error_codes":[%d],
			"trace_id":"33333333-3333-3333-3333-333333333333","correlation_id":"secret"}`, code, number, number)
	}
	for name, test := range map[string]struct {
		answer reply
		kind   exchange.Kind
		want   string
	}{
		"wrong client ID": {
			answer(400, body("unauthorized_client", 700016)), exchange.Rejected,
			"refused by Entra: answered 400 Bad Request, unauthorized_client, AADSTS700016: the tenant has no application with this client ID; " +
				"compare azure.workload.identity/client-id and tenant-id of the ServiceAccount with the identity in Azure (IDs)",
		},
		"no federated credential": {
			answer(401, body("invalid_client", 700213)), exchange.Rejected,
			"refused by Entra: answered 401 Unauthorized, invalid_client, AADSTS700213: no federated credential of this client ID has exactly the token's " +
				"issuer, subject and audience (the subject differs); compare them byte for byte, and wait some minutes if it was just made; " +
				`the token says issuer "https://issuer.example", subject "system:serviceaccount:default:demo", audience "api://AzureADTokenExchange" (IDs)`,
		},
		"an unknown code": {
			answer(400, body("secret", 123456)), exchange.Rejected,
			"refused by Entra: answered 400 Bad Request, AADSTS123456: Microsoft explains it at https://login.microsoftonline.com/error?code=123456 (IDs)",
		},
		"a code in the description alone": {
			answer(400, `{"error":"invalid_request","error_description":"AADSTS90002: secret","error_codes":"secret"}`), exchange.Rejected,
			"refused by Entra: answered 400 Bad Request, invalid_request, AADSTS90002: no such tenant; correct azure.workload.identity/tenant-id of the ServiceAccount, or the webhook's default (ID)",
		},
		"a 4xx that is an outage": {
			answer(400, body("temporarily_unavailable", 0)), exchange.Unavailable,
			"no answer from Entra: answered 400 Bad Request, temporarily_unavailable (IDs)",
		},
		"request timeout": {answer(408, ""), exchange.Unavailable, "no answer from Entra: answered 408 Request Timeout (ID)"},
		"throttled":       {answer(429, "<html>secret"), exchange.Throttled, "throttled by Entra: answered 429 Too Many Requests (ID)"},
		"server error":    {answer(500, "secret"), exchange.Unavailable, "no answer from Entra: answered 500 Internal Server Error (ID)"},
		"redirect": {
			answer(302, "", "Location", "https://login.example/secret"), exchange.Unavailable,
			"no answer from Entra: answered 302 Found: something between here and Entra answers in its place; redirects are not followed (ID)",
		},
		"a page": {answer(200, "<html>secret"), exchange.Unavailable, "no answer from Entra: answered 200 OK with what is no token answer (ID)"},
		"no access token": {
			answer(200, `{"token_type":"Bearer","expires_in":3599}`), exchange.Unavailable,
			"no answer from Entra: answered 200 OK with no access token (ID)",
		},
		"an access token with a line break": {
			answer(200, `{"token_type":"Bearer","expires_in":3599,"access_token":"a\nb"}`), exchange.Unavailable,
			"no answer from Entra: answered 200 OK with no access token (ID)",
		},
		"another type": {
			answer(200, `{"token_type":"mac","expires_in":3599,"access_token":"a"}`), exchange.Unavailable,
			"no answer from Entra: answered 200 OK with an access token that is not of type Bearer (ID)",
		},
		"no lifetime": {
			answer(200, `{"token_type":"Bearer","expires_in":"","access_token":"secret"}`), exchange.Unavailable,
			"no answer from Entra: answered 200 OK with what is no token answer (ID)",
		},
		"a negative lifetime": {
			answer(200, `{"token_type":"Bearer","expires_in":-1,"access_token":"secret"}`), exchange.Unavailable,
			"no answer from Entra: answered 200 OK with an access token without a lifetime (ID)",
		},
		"too much": {
			reply{status: 200, flood: true},
			exchange.Unavailable,
			"no answer from Entra: answered 200 OK with more than 1048576 bytes (ID)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClient(t, tokenFile(t), func(*http.Request) (reply, error) {
					return test.answer, nil
				})
				_, err := c.AccessToken(t.Context(), wanted())
				e := theError(t, err, test.kind)
				got := strings.Replace(err.Error(), "(correlation ID "+e.CorrelationID+", trace ID 33333333-3333-3333-3333-333333333333)", "(IDs)", 1)
				got = strings.Replace(got, "(correlation ID "+e.CorrelationID+")", "(ID)", 1)
				if got != test.want {
					t.Errorf("got error\n%q; want\n%q", got, test.want)
				}
				if strings.Contains(fmt.Sprintf("%+v %#v", *e, e), "secret") {
					t.Errorf("the error holds what Entra wrote: %+v", *e)
				}
			})
		})
	}
}

type slow struct{ error }

func (slow) Timeout() bool   { return true }
func (slow) Temporary() bool { return true }

func TestConnectionsThatDoNotComeAbout(t *testing.T) {
	for want, trouble := range map[string]error{
		"lookup login.example on 192.0.2.1:53: no such host": &net.DNSError{
			Err: "no such host", Name: "login.example", Server: "192.0.2.1:53", IsNotFound: true,
		},
		"dial tcp: network is unreachable":                       &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ENETUNREACH},
		"tls: failed to verify certificate: x509: malformed":     &tls.CertificateVerificationError{Err: errors.New("x509: malformed")},
		"connecting took too long":                               slow{errors.New("secret")},
		"the connection was closed before the end of the answer": io.EOF,
		"what came back is not HTTP over TLS as it should be":    errors.New("malformed HTTP response: secret"),
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newClient(t, tokenFile(t), func(*http.Request) (reply, error) { return reply{}, trouble })
			_, err := c.AccessToken(t.Context(), wanted())
			if e := theError(t, err, exchange.Unavailable); e.Detail != want || strings.Contains(err.Error(), "secret") {
				t.Errorf("got error %q; want %q", err, want)
			}
		})
	}
}
