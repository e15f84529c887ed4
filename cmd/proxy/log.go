package main

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	// joinFor is how long a line may wait for others. To write each by itself, to
	// a file, is 5 to 8 percent of the processor time of a cached answer.
	joinFor = 100 * time.Millisecond
	// maxJoined is the most that waits, in bytes: some eighty lines.
	maxJoined = 16 << 10
)

// joined is an [io.Writer] for a log: it joins the lines of a moment into one
// write. It is safe for concurrent use.
type joined struct {
	out io.Writer

	mu    sync.Mutex // guards what follows, and the order of writes
	lines []byte     // not written yet
	timer *time.Timer
}

func join(out io.Writer) *joined {
	j := &joined{out: out, lines: make([]byte, 0, maxJoined)}
	j.timer = time.AfterFunc(joinFor, j.flush)
	return j
}

// Write implements [io.Writer]. What cannot be written later is lost.
func (j *joined) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.lines)+len(line) > maxJoined {
		j.writeOut()
	}
	if len(j.lines) == 0 {
		j.timer.Reset(joinFor)
	}
	j.lines = append(j.lines, line...)
	return len(line), nil
}

// flush writes what waits.
func (j *joined) flush() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.writeOut()
}

// writeOut is for who holds j.mu.
func (j *joined) writeOut() {
	if len(j.lines) > 0 {
		j.out.Write(j.lines) //nolint:errcheck // there is nowhere to say so
		j.lines = j.lines[:0]
	}
}

// prompt is a handler over joined lines that lets no warning wait.
type prompt struct {
	slog.Handler
	lines *joined
}

// Handle implements [slog.Handler].
func (p prompt) Handle(ctx context.Context, record slog.Record) error {
	err := p.Handler.Handle(ctx, record)
	if record.Level >= slog.LevelWarn {
		p.lines.flush()
	}
	return err
}

// WithAttrs implements [slog.Handler].
func (p prompt) WithAttrs(attrs []slog.Attr) slog.Handler {
	return prompt{p.Handler.WithAttrs(attrs), p.lines}
}

// WithGroup implements [slog.Handler].
func (p prompt) WithGroup(name string) slog.Handler {
	return prompt{p.Handler.WithGroup(name), p.lines}
}
