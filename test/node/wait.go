//go:build linux

package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// await asks until it gets no error, and gives the last one if the context ends
// before, or the process of which it is asked.
func await(ctx context.Context, what string, ended <-chan struct{}, ask func(context.Context) error) error {
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, err)
		case <-ended:
			return errors.Join(fmt.Errorf("waiting for %s: it has ended", what), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Await asks until there is no error, for at most the given time, or ends the test.
func Await(t testing.TB, within time.Duration, what string, ask func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if err := await(ctx, what, nil, ask); err != nil {
		t.Fatal(err)
	}
}

// logTailBytes is enough for a fatal line and what led to it.
const logTailBytes = 6 << 10

// showLogs prints the ends of all logs if the test has failed.
func (n *Node) showLogs(t testing.TB) {
	if !t.Failed() {
		return
	}
	logs, _ := filepath.Glob(n.path("*.log")) // the pattern is right
	for _, log := range logs {
		content, err := os.ReadFile(log)
		if err != nil || len(content) == 0 {
			continue
		}
		if len(content) > logTailBytes {
			content = content[len(content)-logTailBytes:]
			content = content[bytes.IndexByte(content, '\n')+1:]
		}
		t.Logf("end of %s:\n%s", filepath.Base(log), content)
	}
}
