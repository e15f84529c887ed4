//go:build !unix

package directory

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
)

func flock(*os.File) (bool, error) {
	return false, fmt.Errorf("%w: the directory store needs flock(2), which %s has not", errors.ErrUnsupported, runtime.GOOS)
}

func inode(fs.FileInfo) uint64 { return 0 }
