package exchange_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/exchange"
)

func response(status, header, body string) string {
	return "HTTP/1.1 " + status + "\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n" + header + "\r\n" + body
}

// TestCanary lets a hostile or broken Entra send the assertion back in every
// place there is, and looks for it in whatever an error or a log line shows.
func TestCanary(t *testing.T) {
	s := newTokenServer(t)
	const accessCanary = "canary-access-91c7"
	for name, answer := range map[string]func(assertion string) string{
		"body of 400": func(a string) string { return response("400 Bad Request", "", a) },
		"body of 500": func(a string) string { return response("500 Oops", "", a) },
		"body of 200": func(a string) string { return response("200 OK", "", a) },
		"error members": func(a string) string {
			return response("401 Unauthorized", "", fmt.Sprintf(`{"error":%[1]q,"error_description":%[1]q,"trace_id":%[1]q,"correlation_id":%[1]q,"error_uri":%[1]q,"error_codes":[70021]}`, a))
		},
		"description with a code": func(a string) string {
			return response("401 Unauthorized", "", fmt.Sprintf(`{"error":"invalid_client","error_description":"AADSTS70021: %s"}`, a))
		},
		"code itself": func(a string) string {
			return response("401 Unauthorized", "", fmt.Sprintf(`{"error":"invalid_client","error_description":"AADSTS%s: x"}`, a))
		},
		"wrong types": func(a string) string {
			return response("401 Unauthorized", "", fmt.Sprintf(`{"error":[%[1]q],"error_codes":[%[1]q]}`, a))
		},
		"status text":    func(a string) string { return response("400 "+a, "", "{}") },
		"status line":    func(a string) string { return a + "\r\n\r\n" },
		"status number":  func(a string) string { return "HTTP/1.1 " + a + "\r\n\r\n" },
		"header":         func(a string) string { return response("400 Bad", "X-Echo: "+a+"\r\n", "{}") },
		"header name":    func(a string) string { return response("400 Bad", a+": x\r\n", "{}") },
		"broken header":  func(a string) string { return response("400 Bad", a+"\r\n", "{}") },
		"content length": func(a string) string { return "HTTP/1.1 200 OK\r\nContent-Length: " + a + "\r\n\r\n" },
		"encoding":       func(a string) string { return "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + a + "\r\n\r\n" },
		"chunk":          func(a string) string { return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + a + "\r\n" },
		"retry after":    func(a string) string { return response("429 Slow", "Retry-After: "+a+"\r\n", "{}") },
		"location":       func(a string) string { return response("302 Found", "Location: https://"+a+".example/"+a+"\r\n", "") },
		"broken location": func(a string) string {
			return response("302 Found", "Location: %zz"+a+"\r\n", "")
		},
		"cut off": func(a string) string { return "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + a },
		"an answer without lifetime": func(a string) string {
			return response("200 OK", "", fmt.Sprintf(`{"token_type":"Bearer","expires_in":%[1]q,"access_token":%[1]q}`, a))
		},
		"an answer of another type": func(a string) string {
			return response("200 OK", "", fmt.Sprintf(`{"token_type":%[1]q,"expires_in":1,"access_token":%[1]q}`, a))
		},
		"an access token": func(string) string {
			return response("200 OK", "", `{"token_type":"Bearer","expires_in":3599,"access_token":"`+accessCanary+`"}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := rawTokenServer(t, s, func(connection io.Writer, r *http.Request, _ *bufio.Reader) {
				fmt.Fprint(connection, answer(r.PostForm.Get("client_assertion")))
			})
			path := tokenFile(t)
			assertion, err := exchange.TokenFile(path).Assertion(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			log := slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug - 10, AddSource: true}))
			config := exchange.Config{
				Authority: "https://login.example/", Endpoint: exchange.Endpoint{URL: address, CAData: s.ca},
				Assertions: exchange.TokenFile(path), Log: log,
			}
			client, err := exchange.New(config)
			if err != nil {
				t.Fatal(err)
			}
			cache := exchange.Cached(client, exchange.TokenFile(path), log)
			got, err := cache.AccessToken(t.Context(), wanted())
			cache.Close()
			show(&out, log, got, err, assertion, config)
			fmt.Fprintf(&out, "%v %+v %#v %+v", client, client, cache, cache)
			noCanary(t, out.String(), assertion.Token.Reveal(), accessCanary)
		})
	}
}

// show writes values and everything that an error wraps in every way.
func show(out *bytes.Buffer, log *slog.Logger, values ...any) {
	for len(values) > 0 {
		value := values[0]
		values = values[1:]
		fmt.Fprintf(out, "%v\n%+v\n%#v\n%q\n", value, value, value, value)
		log.Debug("shown", "value", value)
		switch wrapping := value.(type) {
		case interface{ Unwrap() []error }:
			for _, err := range wrapping.Unwrap() {
				values = append(values, err)
			}
			if e, ok := errors.AsType[*exchange.Error](wrapping.(error)); ok {
				values = append(values, *e)
			}
		case interface{ Unwrap() error }:
			values = append(values, wrapping.Unwrap())
		}
	}
}

func noCanary(t *testing.T, shown, assertion, access string) {
	t.Helper()
	parts := strings.Split(assertion, ".")
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	for _, canary := range []string{assertion, parts[1], parts[2], string(signature), access} {
		if i := strings.Index(shown, canary); i >= 0 {
			t.Errorf("found %q:\n…%s…", canary, shown[max(0, i-200):min(len(shown), i+len(canary)+100)])
		}
	}
}

// TestCanaryInTokenFiles has files that hold a secret which is no usable token.
func TestCanaryInTokenFiles(t *testing.T) {
	whole := token(t, "canary-5f2d", time.Now().Add(time.Hour))
	parts := strings.Split(whole, ".")
	for name, content := range map[string]string{
		"no token":      "canary-5f2d",
		"half":          whole[:len(whole)-20],
		"no header":     parts[2] + "." + parts[1] + "." + parts[2],
		"no claims":     parts[0] + "." + parts[2] + "." + parts[2],
		"five parts":    whole + "." + parts[2] + "." + parts[2],
		"expired":       token(t, "canary-5f2d", time.Now().Add(-time.Hour)),
		"control bytes": whole + "\x00",
	} {
		path := tokenFile(t)
		write(t, path, content)
		var out bytes.Buffer
		got, err := exchange.TokenFile(path).Assertion(t.Context())
		show(&out, slog.New(slog.NewTextHandler(&out, nil)), got, err)
		if strings.Contains(out.String(), "canary") || strings.Contains(out.String(), parts[2]) {
			t.Errorf("%s: found in\n%s", name, out.String())
		}
	}
}
