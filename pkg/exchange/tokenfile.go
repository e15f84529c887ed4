package exchange

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
)

// Assertions is where the projected token comes from. It must be safe for
// concurrent use, and return the current token on each call. Errors have kind
// [NoToken] or [Expired].
type Assertions interface {
	Assertion(ctx context.Context) (Assertion, error)
}

// Assertion is a projected token, to be sent as a client assertion (RFC 7523),
// with the claims that explain a refusal. Nothing of it is verified.
type Assertion struct {
	Token           Secret
	Issuer, Subject string
	Audience        []string
	Expiry          time.Time
	// Fingerprint tells this token from another.
	Fingerprint [sha256.Size]byte
}

// TokenFile is the path of a file that holds the projected token and is
// replaced in time, as the kubelet does.
type TokenFile string

const (
	// maxToken is far above what kube-apiserver makes: 1 to 2 KiB.
	maxToken = 64 << 10
	// Whoever replaces the file, by a symbolic link or in place, is done within
	// these reads or is not replacing it.
	tokenReads = 5
	readPause  = 20 * time.Millisecond
)

var _ Assertions = TokenFile("")

// Assertion reads the file. It reads again, for less than 0.1 s, what is
// missing or no token. A token that has expired is an error that says so.
func (f TokenFile) Assertion(ctx context.Context) (Assertion, error) {
	for reads := 1; ; reads++ {
		assertion, err := f.read()
		if err == nil {
			return assertion, f.current(assertion)
		}
		if reads == tokenReads || !sleep(ctx, readPause) {
			return Assertion{}, noToken(err, "reading token file %q: %v", string(f), err)
		}
	}
}

func (f TokenFile) current(assertion Assertion) error {
	age := time.Since(assertion.Expiry)
	if age < 0 {
		return nil
	}
	return &Error{Kind: Expired, Detail: fmt.Sprintf("the token in %q expired at %s, %s ago: it was not sent; the kubelet should have replaced it",
		string(f), assertion.Expiry.UTC().Format(time.RFC3339), age.Truncate(time.Second))}
}

func (f TokenFile) read() (Assertion, error) {
	content, err := readRegular(string(f), maxToken)
	if err != nil {
		return Assertion{}, err
	}
	return parseAssertion(strings.TrimSpace(string(content)))
}

// readRegular reads a file of at most so many bytes. Its errors do not name it.
func readRegular(name string, most int64) ([]byte, error) {
	// A pipe would block on open; a link is followed.
	info, err := os.Stat(name)
	if err != nil {
		return nil, withoutPath(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, withoutPath(err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, most+1))
	if err != nil {
		return nil, withoutPath(err)
	}
	if int64(len(content)) > most {
		return nil, fmt.Errorf("it has more than %d bytes", most)
	}
	return content, nil
}

// withoutPath is err without the path, which is quoted elsewhere.
func withoutPath(err error) error {
	if wrapped, ok := errors.AsType[*fs.PathError](err); ok {
		return wrapped.Err
	}
	return err
}

// parseAssertion reads the claims. Its errors hold nothing of the token.
func parseAssertion(token string) (Assertion, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 { // RFC 7515 section 3.1
		return Assertion{}, fmt.Errorf("it has %d parts between dots; want a JWT's 3: header, claims, signature", len(parts))
	}
	var header struct{}
	if !decode(parts[0], &header) {
		return Assertion{}, errors.New("its first part is no JWT header")
	}
	var claims struct {
		Issuer   string   `json:"iss"`
		Subject  string   `json:"sub"`
		Audience audience `json:"aud"`
		Expiry   float64  `json:"exp"`
	}
	if !decode(parts[1], &claims) || claims.Expiry <= 0 {
		return Assertion{}, errors.New("its second part is no JWT claims with an expiry")
	}
	if signature, err := base64.RawURLEncoding.DecodeString(parts[2]); err != nil || len(signature) == 0 {
		return Assertion{}, errors.New("its third part is no signature")
	}
	return Assertion{
		Token:       NewSecret(token),
		Issuer:      claims.Issuer,
		Subject:     claims.Subject,
		Audience:    claims.Audience,
		Expiry:      time.Unix(int64(min(claims.Expiry, 1<<40)), 0),
		Fingerprint: sha256.Sum256([]byte(token)),
	}, nil
}

func decode(part string, target any) bool {
	data, err := base64.RawURLEncoding.DecodeString(part)
	return err == nil && json.Unmarshal(data, target) == nil
}

// audience is one string or a list of them (RFC 7519 section 4.1.3).
type audience []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *audience) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(a))
}

// sleep reports whether the time passed before ctx ended.
func sleep(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
