//go:build unix

package directory_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/issuer-sync/issuer-sync/internal/store/directory"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// TestMain is also the main of the other processes that the tests start, with
// a role and a directory as arguments.
func TestMain(m *testing.M) {
	if len(os.Args) != 3 || strings.HasPrefix(os.Args[1], "-") {
		m.Run()
		return
	}
	roles := map[string]func(context.Context, string) error{"hold": hold, "write": writeForever, "limited": writeLimited, "powerless": writePowerless}
	if err := roles[os.Args[1]](context.Background(), os.Args[2]); err != nil {
		fmt.Println(err)
	}
}

// hold takes the lock and keeps it.
func hold(_ context.Context, dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, ".issuer-sync/lock"), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	fmt.Println("locked")
	select {}
}

// writeForever increments the counter until the process is killed.
func writeForever(ctx context.Context, dir string) error {
	s, err := directory.New(dir)
	if err != nil {
		return err
	}
	for first := true; ; first = false {
		object, base, err := s.Read(ctx, oidc.JWKSPath)
		if err != nil {
			return err
		}
		n, err := number(object.Body)
		if err != nil {
			return err
		}
		if err := write(ctx, s, oidc.JWKSPath, body(n+1), base); err != nil {
			return err
		}
		if first {
			fmt.Println("writing")
		}
	}
}

// writeLimited overwrites the object with one that is larger than this process
// may write.
func writeLimited(ctx context.Context, dir string) error {
	const most = 64 << 10
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: most, Max: most}); err != nil {
		return err
	}
	s, err := directory.New(dir)
	if err != nil {
		return err
	}
	_, base, err := s.Read(ctx, oidc.JWKSPath)
	if err != nil {
		return err
	}
	return write(ctx, s, oidc.JWKSPath, strings.Repeat("x", 2*most), base)
}

// nobody is the uid that owns nothing.
const nobody = 65534

// writePowerless writes as somebody else.
func writePowerless(ctx context.Context, dir string) error {
	if os.Geteuid() == 0 {
		if err := syscall.Setuid(nobody); err != nil {
			return err
		}
	} else if err := os.Chmod(filepath.Join(dir, ".issuer-sync/lock"), 0); err != nil {
		return err
	}
	s, err := directory.New(dir)
	if err != nil {
		return err
	}
	return write(ctx, s, oidc.JWKSPath, "new", "")
}

// body returns the n-th version of a document, whose end repeats its start.
func body(n int) string {
	digits := strconv.Itoa(n)
	return digits + strings.Repeat(" ", 20<<10) + digits
}

// number returns the n of a body, or an error if it is torn.
func number(content []byte) (int, error) {
	fields := bytes.Fields(content)
	if len(fields) != 2 || !bytes.Equal(fields[0], fields[1]) || len(content) != len(body(0))-2+2*len(fields[0]) {
		return 0, fmt.Errorf("%d bytes are torn: %.40q", len(content), content)
	}
	return strconv.Atoi(string(fields[0]))
}
