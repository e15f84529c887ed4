//go:build unix

package directory

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// flock takes the lock on f and reports whether it did; if not, another one
// holds it. The lock ends when f is closed or its process dies.
func flock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
		return false, nil
	}
	return err == nil, err
}

// inode tells apart files that exist at the same time.
func inode(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Ino
	}
	return 0
}
