package exchange_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/pkg/exchange"
)

func TestNewRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		config exchange.Config
		want   string
	}{
		"no authority": {exchange.Config{}, `authority host: "": want an https URL with a host`},
		"http": {
			exchange.Config{Authority: "http://login.example"},
			`authority host: "http://login.example": want an https URL with a host`,
		},
		"a password": {
			exchange.Config{Authority: "https://a:secret@login.example"},
			`authority host: "https://a:xxxxx@login.example": user and password are not allowed`,
		},
		"a query": {
			exchange.Config{Authority: "https://login.example/?a=b"},
			`authority host: "https://login.example/?a=b": query and fragment are not allowed`,
		},
		"a CA for no endpoint": {
			exchange.Config{Authority: "https://login.example", Endpoint: exchange.Endpoint{CAFile: "/ca.crt"}},
			"custom token endpoint: a CA or an SNI name is set, but no URL",
		},
		"two faults": {
			exchange.Config{Authority: "x", Endpoint: exchange.Endpoint{URL: "https://e.example", CAFile: "/ca.crt", CAData: "x"}},
			`authority host: "x": want an https URL with a host` + "\n" + "custom token endpoint: CA file and CA data are both set; want one",
		},
		"an endpoint without TLS": {
			exchange.Config{Authority: "https://login.example", Endpoint: exchange.Endpoint{URL: "http://e.example"}},
			`custom token endpoint: "http://e.example": want an https URL with a host`,
		},
		"no CA file": {
			exchange.Config{Authority: "https://login.example", Endpoint: exchange.Endpoint{URL: "https://e.example", CAFile: "/nowhere/ca.crt"}},
			`reading CA file "/nowhere/ca.crt" of the custom token endpoint: no such file or directory`,
		},
		"CA data that is none": {
			exchange.Config{Authority: "https://login.example", Endpoint: exchange.Endpoint{URL: "https://e.example", CAData: "junk"}},
			"CA data of the custom token endpoint: no certificate in PEM",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := exchange.New(test.config)
			if err == nil || err.Error() != test.want {
				t.Errorf("got error %v; want %s", err, test.want)
			}
		})
	}
}

func TestRequestOnTheWire(t *testing.T) {
	path := tokenFile(t)
	assertion, err := exchange.TokenFile(path).Assertion(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		config exchange.Config
		url    string
	}{
		"authority": {
			exchange.Config{Authority: "https://login.example"},
			"https://login.example/" + tenant + "/oauth2/v2.0/token",
		},
		"authority with slashes": {
			exchange.Config{Authority: "https://login.example//"},
			"https://login.example/" + tenant + "/oauth2/v2.0/token",
		},
		"custom endpoint": {
			exchange.Config{Authority: "https://login.example/", Endpoint: exchange.Endpoint{URL: "https://proxy.example:6443/to/entra/"}},
			"https://proxy.example:6443/to/entra/" + tenant + "/oauth2/v2.0/token",
		},
	} {
		t.Run(name, func(t *testing.T) {
			test.config.Assertions, test.config.Log = exchange.TokenFile(path), slog.New(slog.DiscardHandler)
			test.config.Transport = transport(func(r *http.Request) (reply, error) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				form, err := url.ParseQuery(string(body))
				if err != nil {
					t.Error(err)
				}
				want := url.Values{
					"grant_type":            {"client_credentials"},
					"client_id":             {client},
					"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
					"client_assertion":      {assertion.Token.Reveal()},
					"scope":                 {vault},
				}
				if r.Method != http.MethodPost || r.URL.String() != test.url || r.Host != "login.example" ||
					r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || r.ContentLength != int64(len(body)) {
					t.Errorf("got %s %s for host %q, %v, %d bytes", r.Method, r.URL, r.Host, r.Header, r.ContentLength)
				}
				if diff := cmp.Diff(want, form); diff != "" {
					t.Errorf("form (-want +got):\n%s", diff)
				}
				if id := r.Header.Get("Client-Request-Id"); len(id) != 36 {
					t.Errorf("correlation ID %q", id)
				}
				return answer(http.StatusOK, good), nil
			})
			c, err := exchange.New(test.config)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.AccessToken(t.Context(), wanted()); err != nil {
				t.Error(err)
			}
		})
	}
}

// The monotonic clock stands still in a suspended machine, and the caller
// reckons with the wall clock.
// TestAnswersThatAreNone has what may come back in the place of an answer, and
// what becomes of it: the error, exactly but for the IDs.
func TestOutagesAreTriedAgain(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	for name, fail := range map[string]transport{
		"503":                func(*http.Request) (reply, error) { return answer(503, ""), nil },
		"connection refused": func(*http.Request) (reply, error) { return reply{}, refused },
		"cut off": func(*http.Request) (reply, error) {
			return reply{status: 200, body: `{"access`, cut: true}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				ids := map[string]bool{}
				c := newClient(t, tokenFile(t), func(r *http.Request) (reply, error) {
					ids[r.Header.Get("Client-Request-Id")] = true
					if calls++; calls < 3 {
						return fail(r)
					}
					return answer(200, good), nil
				})
				began := time.Now()
				if _, err := c.AccessToken(t.Context(), wanted()); err != nil {
					t.Fatal(err)
				}
				// 100 to 300 ms, then 200 to 600 ms.
				if took := time.Since(began); took < 300*time.Millisecond || took > 900*time.Millisecond {
					t.Errorf("took %v; want 0.3 to 0.9 s", took)
				}
				if len(ids) != 1 {
					t.Errorf("%d correlation IDs in one exchange; want 1", len(ids))
				}
			})
		})
	}
}

// slow is how net/http says that a TLS handshake took too long.
func TestOutageIsKnownSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		c := newClient(t, tokenFile(t), func(*http.Request) (reply, error) {
			calls++
			return reply{}, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		})
		began := time.Now()
		_, err := c.AccessToken(t.Context(), wanted())
		e := theError(t, err, exchange.Unavailable)
		if e.Detail != "dial tcp: connection refused" || !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("got error %v; want one that says connection refused", err)
		}
		if took := time.Since(began); calls != 3 || took > 900*time.Millisecond {
			t.Errorf("%d attempts in %v; want 3 in at most 0.9 s", calls, took)
		}
	})
}

func TestRetriesKeepToTheCallersDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		c := newClient(t, tokenFile(t), func(*http.Request) (reply, error) {
			calls++
			return answer(503, ""), nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := c.AccessToken(ctx, wanted())
		if e := theError(t, err, exchange.Unavailable); e.Status != 503 {
			t.Errorf("got error %v; want the answer 503", err)
		}
		if took := time.Since(began); calls != 1 || took != 0 {
			t.Errorf("%d attempts in %v; want 1, and no wait that cannot end in time", calls, took)
		}
	})
}

func TestCancelledCallerLeavesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := newClient(t, tokenFile(t), func(*http.Request) (reply, error) {
			time.AfterFunc(time.Millisecond, cancel)
			return answer(503, ""), nil
		})
		began := time.Now()
		_, err := c.AccessToken(ctx, wanted())
		wantKind(t, err, exchange.Unavailable)
		if took := time.Since(began); took != time.Millisecond {
			t.Errorf("took %v; want 1ms", took)
		}
	})
}

// hang answers when its request's context ends, as a black hole does.
func hang(r *http.Request) (reply, error) {
	<-r.Context().Done()
	return reply{}, r.Context().Err()
}

func TestTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		c := newClient(t, tokenFile(t), func(r *http.Request) (reply, error) { calls++; return hang(r) })
		began := time.Now()
		_, err := c.AccessToken(t.Context(), wanted())
		e := theError(t, err, exchange.Unavailable)
		if !errors.Is(err, context.DeadlineExceeded) || e.Detail != "no complete answer in time" {
			t.Errorf("got error %v; want a deadline", err)
		}
		if took := time.Since(began); took != 30*time.Second || calls != 3 {
			t.Errorf("%d attempts in %v; want 3 in 30s", calls, took)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		c := newClient(t, tokenFile(t), func(r *http.Request) (reply, error) {
			if calls++; calls == 1 {
				return hang(r)
			}
			return answer(200, good), nil
		})
		began := time.Now()
		if _, err := c.AccessToken(t.Context(), wanted()); err != nil {
			t.Errorf("after one lost request: %v", err)
		}
		if took := time.Since(began); took < 10*time.Second || took > 11*time.Second {
			t.Errorf("took %v; want 10 s and a pause", took)
		}
	})
}

func TestRetryAfterIsKept(t *testing.T) {
	for name, test := range map[string]struct {
		status  int
		header  string
		want    time.Duration
		attempt int // how many are made
	}{
		"throttled, seconds":            {429, "17", 17 * time.Second, 1},
		"throttled, nothing said":       {429, "", 0, 1},
		"throttled, nonsense":           {429, "soon", 0, 1},
		"throttled, negative":           {429, "-5", 0, 1},
		"throttled, for a year":         {429, "31536000", 10 * time.Minute, 1},
		"throttled, beyond integers":    {429, "99999999999999999999", 0, 1},
		"throttled, a date":             {429, "Sat, 01 Jan 2000 00:00:42 GMT", 42 * time.Second, 1},
		"throttled, a date in the past": {429, "Fri, 31 Dec 1999 00:00:42 GMT", 0, 1},
		"down, for long":                {503, "20", 20 * time.Second, 1},
		"down, for a moment":            {503, "1", time.Second, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				c := newClient(t, tokenFile(t), func(*http.Request) (reply, error) {
					calls++
					return answer(test.status, "", "Retry-After", test.header), nil
				})
				began := time.Now()
				_, err := c.AccessToken(t.Context(), wanted())
				var e *exchange.Error
				if !errors.As(err, &e) || e.RetryAfter != test.want || calls != test.attempt {
					t.Errorf("got %+v after %d attempts; want retry after %v, %d attempts", e, calls, test.want, test.attempt)
				}
				if took, least := time.Since(began), time.Duration(test.attempt-1)*test.want; took < least {
					t.Errorf("took %v; want at least %v", took, least)
				}
			})
		})
	}
}

func TestRefusalOfAReplacedTokenIsTriedAgain(t *testing.T) {
	path := tokenFile(t)
	var sent []string
	c := newClient(t, path, func(r *http.Request) (reply, error) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		sent = append(sent, r.PostForm.Get("client_assertion"))
		if len(sent) == 1 {
			write(t, path, token(t, "second", time.Now().Add(time.Hour)))
			return answer(401, `{"error":"invalid_client","error_codes":[700024]}`), nil
		}
		return answer(200, good), nil
	})
	if _, err := c.AccessToken(t.Context(), wanted()); err != nil {
		t.Error(err)
	}
	if len(sent) != 2 || sent[0] == sent[1] {
		t.Errorf("sent %d tokens; want two, and another the second time", len(sent))
	}
}

func TestRefusalIsNotTriedAgain(t *testing.T) {
	calls := 0
	c := newClient(t, tokenFile(t), func(*http.Request) (reply, error) {
		calls++
		return answer(401, `{"error":"invalid_client","error_codes":[70021]}`), nil
	})
	_, err := c.AccessToken(t.Context(), wanted())
	wantKind(t, err, exchange.Rejected)
	if calls != 1 {
		t.Errorf("%d attempts; want 1", calls)
	}
}

func TestTokenFileIsReadForEachExchange(t *testing.T) {
	path := tokenFile(t)
	var last string
	c := newClient(t, path, func(r *http.Request) (reply, error) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		last = r.PostForm.Get("client_assertion")
		return answer(200, good), nil
	})
	for _, name := range []string{"second", "third"} {
		want := token(t, name, time.Now().Add(time.Hour))
		write(t, path, want)
		if _, err := c.AccessToken(t.Context(), wanted()); err != nil {
			t.Fatal(err)
		}
		if last != want {
			t.Errorf("sent another token than the %s", name)
		}
	}
}

// TestNobodyTriesAgainForACallerWhoHasGone, and no line says so.
func TestNobodyTriesAgainForACallerWhoHasGone(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	var out bytes.Buffer
	c, err := exchange.New(exchange.Config{
		Authority: "https://login.example/", Assertions: exchange.TokenFile(tokenFile(t)),
		Transport: transport(func(*http.Request) (reply, error) {
			leave()
			return answer(503, ""), nil
		}),
		Log: slog.New(slog.NewTextHandler(&out, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.AccessToken(ctx, wanted())
	if wantKind(t, err, exchange.Unavailable); out.Len() > 0 {
		t.Errorf("logged %s", out.String())
	}
}

// TestQueriesOfResourcesAreNotLogged, which may hold a signature.
func TestQueriesOfResourcesAreNotLogged(t *testing.T) {
	for _, resource := range []string{"https://x.example/y?sig=canary", "https://x.example/y#canary"} {
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		file := exchange.TokenFile(tokenFile(t))
		calls := 0
		c, err := exchange.New(exchange.Config{
			Authority: "https://login.example/", Assertions: file, Log: log,
			Transport: transport(func(*http.Request) (reply, error) {
				if calls++; calls == 1 {
					return answer(200, strings.Replace(good, "3599", "122", 1)), nil
				}
				return answer(400, `{"error":"invalid_scope"}`), nil
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		request := wanted()
		request.Scope = exchange.Scope(resource)
		synctest.Test(t, func(t *testing.T) {
			cache := exchange.Cached(c, file, log)
			for range 2 { // the second is a refresh
				if _, err := cache.AccessToken(t.Context(), request); err != nil {
					t.Error(err)
				}
				time.Sleep(61500 * time.Millisecond)
			}
			cache.Close()
		})
		got := out.String()
		for _, want := range []string{"exchanged the token", "kept the access token", "scope=https://x.example/y…"} {
			if !strings.Contains(got, want) {
				t.Errorf("the log lacks %q: %s", want, got)
			}
		}
		if strings.Contains(got, "canary") {
			t.Errorf("logged %s", got)
		}
	}
}
