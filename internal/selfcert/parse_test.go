package selfcert_test

import (
	"bytes"
	"testing"

	"github.com/issuer-sync/issuer-sync/internal/selfcert"
)

func TestParseCertificate(t *testing.T) {
	c := made(t, valid())
	parsed, err := selfcert.ParseCertificate(c.CA)
	if err != nil {
		t.Fatal(err)
	}
	if got := selfcert.EncodeCertificate(parsed.Raw); string(got) != string(c.CA) {
		t.Errorf("encoded again: %s; want %s", got, c.CA)
	}
	for name, raw := range map[string][]byte{"nothing": nil, "no PEM": []byte("x"), "a private key first": append(bytes.Clone(c.Key), c.CA...)} {
		if _, err := selfcert.ParseCertificate(raw); err == nil || err.Error() != "there is no certificate in PEM" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
