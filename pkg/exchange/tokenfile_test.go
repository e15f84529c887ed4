package exchange_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/pkg/exchange"
)

func TestTokenFile(t *testing.T) {
	expiry := time.Now().Add(time.Hour).Truncate(time.Second)
	path := filepath.Join(t.TempDir(), "token")
	want := token(t, "first", expiry)
	write(t, path, want+"\n")
	got, err := exchange.TokenFile(path).Assertion(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.Token.Reveal() != want {
		t.Errorf("read another token than was written")
	}
	if got.Issuer != issuer || got.Subject != pod || !got.Expiry.Equal(expiry) ||
		!cmp.Equal(got.Audience, []string{"api://AzureADTokenExchange"}) {
		t.Errorf("got claims %+v", got)
	}
	write(t, path, token(t, "second", expiry))
	next, err := exchange.TokenFile(path).Assertion(t.Context())
	if err != nil || next.Fingerprint == got.Fingerprint {
		t.Errorf("another token has fingerprint %x, %v; want another than %x", next.Fingerprint, err, got.Fingerprint)
	}
}

func TestAnAudienceThatIsNoList(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, "e30.eyJleHAiOjk5OTk5OTk5OTksImF1ZCI6ImEifQ.eA") // {"exp":9999999999,"aud":"a"}
	got, err := exchange.TokenFile(path).Assertion(t.Context())
	if err != nil || !cmp.Equal(got.Audience, []string{"a"}) {
		t.Errorf("got audience %q, %v; want a", got.Audience, err)
	}
}

func TestTokenFileRefuses(t *testing.T) {
	directory := t.TempDir()
	whole := token(t, "whole", time.Now().Add(time.Hour))
	parts := strings.Split(whole, ".")
	const (
		wantClaims = "its second part is no JWT claims with an expiry"
		wantParts  = " parts between dots; want a JWT's 3: header, claims, signature"
	)
	for name, test := range map[string]struct{ content, want string }{
		"empty":               {"", "it has 1" + wantParts},
		"one part":            {"secret", "it has 1" + wantParts},
		"an encrypted token":  {"a.b.c.d.e", "it has 5" + wantParts},
		"no header":           {"secret." + parts[1] + "." + parts[2], "its first part is no JWT header"},
		"no claims":           {parts[0] + ".secret." + parts[2], wantClaims},
		"claims cut off":      {parts[0] + "." + parts[1][:20] + "." + parts[2], wantClaims},
		"no expiry":           {parts[0] + ".e30." + parts[2], wantClaims},
		"no signature":        {parts[0] + "." + parts[1] + ".", "its third part is no signature"},
		"signature not in it": {parts[0] + "." + parts[1] + ".se cret", "its third part is no signature"},
		"too large":           {strings.Repeat("x", 64<<10+1), "it has more than 65536 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(directory, strings.ReplaceAll(name, " ", "-"))
			write(t, path, test.content)
			_, err := exchange.TokenFile(path).Assertion(t.Context())
			wantKind(t, err, exchange.NoToken)
			if want := `no usable token: reading token file "` + path + `": ` + test.want; err.Error() != want {
				t.Errorf("got error %q; want %q", err, want)
			}
		})
	}
}

func TestTokenFileThatIsNone(t *testing.T) {
	directory := t.TempDir()
	pipe := filepath.Join(directory, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		directory:                           "it is not a regular file",
		pipe:                                "it is not a regular file",
		filepath.Join(directory, "missing"): "no such file or directory",
	} {
		_, err := exchange.TokenFile(path).Assertion(t.Context())
		wantKind(t, err, exchange.NoToken)
		if want := `no usable token: reading token file "` + path + `": ` + want; err.Error() != want {
			t.Errorf("got error %q; want %q", err, want)
		}
	}
	_, err := exchange.TokenFile(filepath.Join(directory, "missing")).Assertion(t.Context())
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got error %v; want one that is fs.ErrNotExist", err)
	}
}

func TestExpiredTokenIsSaidToBeOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := tokenFile(t)
		expiry := time.Now().Add(time.Hour)
		time.Sleep(time.Hour + 12*time.Minute)
		_, err := exchange.TokenFile(path).Assertion(t.Context())
		wantKind(t, err, exchange.Expired)
		want := `expired token: the token in "` + path + `" expired at ` + expiry.UTC().Format(time.RFC3339) +
			`, 12m0s ago: it was not sent; the kubelet should have replaced it`
		if err.Error() != want {
			t.Errorf("got error %q; want %q", err, want)
		}
		write(t, path, token(t, "second", time.Now().Add(time.Second)))
		if _, err := exchange.TokenFile(path).Assertion(t.Context()); err != nil {
			t.Errorf("the replaced token: %v", err)
		}
	})
}

func TestHalfWrittenTokenIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "token")
		whole := token(t, "whole", time.Now().Add(time.Hour))
		write(t, path, whole[:len(whole)/2])
		time.AfterFunc(50*time.Millisecond, func() { write(t, path, whole) })
		got, err := exchange.TokenFile(path).Assertion(t.Context())
		if err != nil || got.Token.Reveal() != whole {
			t.Errorf("got %+v, %v; want the whole token", got, err)
		}
	})
}

func TestReadingAgainEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := exchange.TokenFile("/nowhere/token").Assertion(ctx)
		wantKind(t, err, exchange.NoToken)
		if took := time.Since(began); took != 30*time.Millisecond {
			t.Errorf("took %v; want 30ms", took)
		}
	})
}

// TestTokenFileSwaps replaces the file as the kubelet does (Kubernetes
// pkg/volume/util/atomic_writer.go): a new directory, a symbolic link renamed
// over the old one, and the old directory removed while readers may be on
// their way through it.
func TestTokenFileSwaps(t *testing.T) {
	volume := t.TempDir()
	publish := func(n int) {
		directory := filepath.Join(volume, "..version"+string(rune('a'+n%26)))
		old, err := os.Readlink(filepath.Join(volume, "..data"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if err := os.Mkdir(directory, 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(directory, "token"), token(t, strings.Repeat("x", n+1), time.Now().Add(time.Hour)))
		temporary := filepath.Join(volume, "..data_tmp")
		if err := os.Symlink(directory, temporary); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(temporary, filepath.Join(volume, "..data")); err != nil {
			t.Fatal(err)
		}
		if old != "" {
			if err := os.RemoveAll(old); err != nil {
				t.Fatal(err)
			}
		}
	}
	publish(0)
	path := filepath.Join(volume, "token")
	if err := os.Symlink("..data/token", path); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := exchange.TokenFile(path).Assertion(t.Context()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for n := 1; n < 200; n++ {
		publish(n)
	}
	close(stop)
	readers.Wait()
}
