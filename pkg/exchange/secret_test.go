package exchange_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/issuer-sync/issuer-sync/pkg/exchange"
)

func TestSecretsDoNotPrint(t *testing.T) {
	const canary = "canary-5f2d"
	secret := exchange.NewSecret(canary)
	hidden := struct {
		inner struct{ secret exchange.Secret }
	}{}
	hidden.inner.secret = secret
	var out bytes.Buffer
	for _, value := range []any{
		secret, &secret, hidden, &hidden,
		[]exchange.Secret{secret},
		map[string]any{"a": secret},
		exchange.AccessToken{Value: secret},
		exchange.Assertion{Token: secret},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%p"} {
			fmt.Fprintf(&out, verb+"\n", value)
		}
		if encoded, err := json.Marshal(value); err == nil {
			out.Write(encoded)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("text", "value", value)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "value", value)
	}
	if strings.Contains(out.String(), canary) || strings.Contains(out.String(), fmt.Sprintf("%x", canary)) {
		t.Errorf("the secret is in:\n%s", out.String())
	}
	if got := fmt.Sprint(secret); got != "[redacted]" {
		t.Errorf("printed as %q; want [redacted]", got)
	}
	if got := secret.Reveal(); got != canary {
		t.Errorf("Reveal returned %q; want %q", got, canary)
	}
	if got := new(exchange.Secret).Reveal(); got != "" {
		t.Errorf("the zero secret revealed %q; want nothing", got)
	}
}
