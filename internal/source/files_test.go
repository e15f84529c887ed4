package source_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/internal/source"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

func newFiles(t *testing.T, paths ...string) *source.Files {
	t.Helper()
	files, err := source.NewFiles(paths, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

func symlink(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func publicPEM(t *testing.T, numbers ...int) []byte {
	t.Helper()
	var out []byte
	for _, n := range numbers {
		out = append(out, keytest.PublicPEM(t, keytest.RSA(t, n).Public())...)
	}
	return out
}

// summary is an observation in short, with DIR for the test's directory.
type summary struct {
	Origin  string
	Keys    []string
	Skipped int
	Err     string
}

func summarize(observations []keys.Observation, directory string) []summary {
	var out []summary
	for _, o := range observations {
		s := summary{Origin: strings.ReplaceAll(o.Origin, directory, "DIR"), Skipped: len(o.Skipped)}
		if o.Keys.Len() > 0 {
			s.Keys = o.Keys.IDs()
		}
		if o.Err != nil {
			s.Err = strings.ReplaceAll(o.Err.Error(), directory, "DIR")
		}
		out = append(out, s)
	}
	return out
}

// fill makes a directory as a control plane's, beside what else may lie about.
func fill(t *testing.T) string {
	t.Helper()
	directory := t.TempDir()
	at := func(name string) string { return filepath.Join(directory, name) }
	writeFile(t, at("sa.pub"), publicPEM(t, 1))
	writeFile(t, at("sa.key"), keytest.PrivatePEM(t, keytest.RSA(t, 1)))
	writeFile(t, at("ca.crt"), []byte("not read"))
	writeFile(t, at("old.pem"), publicPEM(t, 2))
	writeFile(t, at(".hidden.pub"), publicPEM(t, 3))
	mkdir(t, at("below"))
	writeFile(t, at("below/deep.pub"), publicPEM(t, 4))
	mkdir(t, at("empty"))
	mkdir(t, at("directory.pub"))
	// A mounted ConfigMap (Kubernetes pkg/volume/util/atomic_writer.go).
	mkdir(t, at("mount"))
	mkdir(t, at("mount/..2026_01"))
	writeFile(t, at("mount/..2026_01/sa.pub"), publicPEM(t, 5))
	symlink(t, "..2026_01", at("mount/..data"))
	symlink(t, "..data/sa.pub", at("mount/sa.pub"))
	symlink(t, "nowhere", at("mount/dangling.pub"))
	return directory
}

func TestFilesExpandsPaths(t *testing.T) {
	key := func(n int) []string { return []string{keytest.Key(t, n).ID} }
	for _, test := range []struct {
		name  string
		paths []string // below DIR
		want  []summary
	}{
		{"a file", []string{"sa.pub"}, []summary{{Origin: "file DIR/sa.pub", Keys: key(1)}}},
		{"a file named directly, whatever its name", []string{".hidden.pub"}, []summary{{Origin: "file DIR/.hidden.pub", Keys: key(3)}}},
		{"a directory: public keys and PEM files in it, not below it", []string{"."}, []summary{
			{Origin: "file DIR/old.pem", Keys: key(2)}, {Origin: "file DIR/sa.pub", Keys: key(1)},
		}},
		{"a mounted ConfigMap: each key once, and what is missing", []string{"mount"}, []summary{
			{Origin: "file DIR/mount/dangling.pub", Err: "file DIR/mount/dangling.pub: no such file or directory"},
			{Origin: "file DIR/mount/sa.pub", Keys: key(5)},
		}},
		{"a glob", []string{"*.p[eu]?"}, []summary{
			{Origin: "file DIR/directory.pub", Err: "file DIR/directory.pub: the directory holds no *.pub or *.pem file"},
			{Origin: "file DIR/old.pem", Keys: key(2)},
			{Origin: "file DIR/sa.pub", Keys: key(1)},
		}},
		{"a glob that matches directories", []string{"bel*"}, []summary{{Origin: "file DIR/below/deep.pub", Keys: key(4)}}},
		{"a glob in a mounted ConfigMap", []string{"mount/*a*"}, []summary{
			{Origin: "file DIR/mount/dangling.pub", Err: "file DIR/mount/dangling.pub: no such file or directory"},
			{Origin: "file DIR/mount/sa.pub", Keys: key(5)},
		}},
		{"a glob for hidden files", []string{".h*"}, []summary{{Origin: "file DIR/.hidden.pub", Keys: key(3)}}},
		{"paths that overlap: each file once", []string{"sa.pub", ".", "./sa.*b"}, []summary{
			{Origin: "file DIR/old.pem", Keys: key(2)}, {Origin: "file DIR/sa.pub", Keys: key(1)},
		}},
		{"a missing file beside a good one", []string{"gone.pub", "sa.pub"}, []summary{
			{Origin: "file DIR/gone.pub", Err: "file DIR/gone.pub: no such file or directory"}, {Origin: "file DIR/sa.pub", Keys: key(1)},
		}},
		{"a glob without match", []string{"*.nothing"}, []summary{
			{Origin: "file DIR/*.nothing", Err: "file DIR/*.nothing: the glob matches nothing"},
		}},
		{"an empty directory", []string{"empty"}, []summary{
			{Origin: "file DIR/empty", Err: "file DIR/empty: the directory holds no *.pub or *.pem file"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			directory := fill(t)
			var paths []string
			for _, path := range test.paths {
				paths = append(paths, directory+"/"+path)
			}
			got := newFiles(t, paths...).Observe(t.Context())
			if diff := cmp.Diff(test.want, summarize(got, directory)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFilesTellsVanishedFiles(t *testing.T) {
	got := newFiles(t, filepath.Join(t.TempDir(), "gone.pub")).Observe(t.Context())
	if len(got) != 1 || !errors.Is(got[0].Err, fs.ErrNotExist) {
		t.Errorf("got %v; want fs.ErrNotExist", got)
	}
}

// corpus is every kind of content that a key file may have.
func corpus(t *testing.T) map[string]struct {
	data []byte
	want summary
} {
	t.Helper()
	public, private := publicPEM(t, 1), keytest.PrivatePEM(t, keytest.RSA(t, 2))
	id := []string{keytest.Key(t, 1).ID}
	weak, err := x509.MarshalPKIXPublicKey(keytest.EC(t, elliptic.P224()).Public())
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&keytest.RSA(t, 3).PublicKey)})
	const openssl = "give the public key, made with: openssl pkey -pubout"
	return map[string]struct {
		data []byte
		want summary
	}{
		"one key":                    {public, summary{Keys: id}},
		"the same key twice":         {append(public, public...), summary{Keys: id}},
		"text around the key":        {bytes.Join([][]byte{[]byte("# signs since May\n"), public, []byte("end\n")}, nil), summary{Keys: id}},
		"a private key":              {private, summary{Err: `file PATH: block 1: private key: "PRIVATE KEY" block; ` + openssl}},
		"a private key after a good": {append(public, private...), summary{Err: `file PATH: block 2: private key: "PRIVATE KEY" block; ` + openssl}},
		"a private key under a false label": {
			bytes.ReplaceAll(private, []byte("PRIVATE KEY"), []byte("PUBLIC KEY")),
			summary{Err: `file PATH: block 1: private key: "PUBLIC KEY" block; ` + openssl},
		},
		"a file cut off":       {public[:len(public)-40], summary{Err: `file PATH: block 1: truncated PEM block: "PUBLIC KEY" begins but does not end`}},
		"an empty file":        {nil, summary{Err: `file PATH: no PEM block: want "-----BEGIN PUBLIC KEY-----"`}},
		"junk":                 {bytes.Repeat([]byte{0xfe}, 2<<20), summary{Err: "file PATH: too large: 1048577 bytes; want at most 1048576"}},
		"P-224 beside a good":  {append(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: weak}), public...), summary{Keys: id, Skipped: 1}},
		"PKCS#1 beside a good": {append(pkcs1, public...), summary{Keys: id, Skipped: 1}},
	}
}

func TestFilesReadsAndRefuses(t *testing.T) {
	secrets := secretsOf(keytest.RSA(t, 2), keytest.PrivatePEM(t, keytest.RSA(t, 2)))
	for name, test := range corpus(t) {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "sa.pub")
			writeFile(t, path, test.data)
			got := newFiles(t, path).Observe(t.Context())
			test.want.Origin = "file DIR"
			test.want.Err = strings.ReplaceAll(test.want.Err, "PATH", "DIR")
			if diff := cmp.Diff([]summary{test.want}, summarize(got, path)); diff != "" {
				t.Error(diff)
			}
			for _, secret := range secrets {
				if text := fmt.Sprintf("%+v %#v", got, got[0].Err); strings.Contains(text, secret) {
					t.Errorf("bytes of a private key are in %q", text)
				}
			}
		})
	}
}

// secretsOf returns spellings in which bytes of a private key might get out.
func secretsOf(private *rsa.PrivateKey, text []byte) []string {
	var out []string
	for _, secret := range []*big.Int{private.D, private.Primes[0], private.Primes[1]} {
		// Nine bytes become twelve characters of base64, without padding.
		out = append(out, string(secret.Bytes()[:9]), base64.StdEncoding.EncodeToString(secret.Bytes()[:9]), secret.String())
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "-----") {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

func TestFilesRefusesWhatIsNoRegularFile(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "sa.pub")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	got := newFiles(t, pipe).Observe(t.Context()) // must not wait for a writer
	want := []summary{{Origin: "file DIR", Err: "file DIR: it is a p---------; want a regular file"}}
	if diff := cmp.Diff(want, summarize(got, pipe)); diff != "" {
		t.Error(diff)
	}
}

func TestNewFilesRefuses(t *testing.T) {
	for _, test := range []struct {
		name  string
		paths []string
		want  string
	}{
		{"no path", nil, "files: no paths; want files, directories or globs"},
		{
			"every bad path at once",
			[]string{"", "/ok", "/etc/[a"},
			"files: path \"\"; want a file, a directory or a glob\nfiles: path \"/etc/[a\"; want a file, a directory or a glob",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := source.NewFiles(test.paths, slog.New(slog.DiscardHandler))
			if err == nil || err.Error() != test.want {
				t.Errorf("got error %v\nwant      %s", err, test.want)
			}
		})
	}
}
