// Package load is what the workloads of the node test share: it tries the same
// thing once, or again and again at a steady pace, and says what became of it.
package load

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"time"
)

const (
	// patience is for one attempt: less than the 30 seconds that Kubernetes gives
	// a pod to end, so that the summary is written in time.
	patience = 20 * time.Second
	// Of errors, the first are kept, each cut: all that a short outage brings.
	maxErrors = 40
	maxError  = 300 // bytes
)

// Loop says how often something is tried.
type Loop struct {
	// Every is the time from the start of one attempt to that of the next; 0
	// means that there is one attempt only. The next one waits for the end of one
	// that takes longer.
	Every time.Duration
	// For is how long; 0 means until the context ends.
	For time.Duration
}

// Flags defines the flags -every and -for of a Loop, which has its values once
// the flags are parsed.
func Flags(flags *flag.FlagSet) *Loop {
	l := new(Loop)
	flags.DurationVar(&l.Every, "every", 0, "try again this often, such as 200ms; without it: once")
	flags.DurationVar(&l.For, "for", 0, "how long to try again, such as 60s; without it: until SIGTERM")
	return l
}

// Summary is what became of all attempts.
type Summary struct {
	OK      int   `json:"ok"`
	Failed  int   `json:"failed"`
	Slowest int64 `json:"slowest_ms"` // the attempt, good or bad, that took longest
	// Errors are the first few, each behind the time at which its attempt ended.
	Errors []string `json:"errors"`
}

// Run tries, and writes a line to w: what a single attempt returns, or the
// [Summary] of many as JSON. The error is that of a single attempt, or of
// writing; failures among many are in the summary alone.
//
// The end of ctx ends no attempt: one under way is let finish, for 20 seconds at
// most, so that being stopped counts as no failure.
func (l Loop) Run(ctx context.Context, w io.Writer, attempt func(context.Context) (string, error)) error {
	if l.Every <= 0 {
		line, err := once(ctx, attempt)
		if err == nil {
			_, err = fmt.Fprintln(w, line)
		}
		return err
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false) // people read it
	return encoder.Encode(l.repeat(ctx, attempt))
}

func (l Loop) repeat(ctx context.Context, attempt func(context.Context) (string, error)) Summary {
	if l.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.For)
		defer cancel()
	}
	s := Summary{Errors: []string{}}
	ticker := time.NewTicker(l.Every)
	defer ticker.Stop()
	for ctx.Err() == nil {
		began := time.Now()
		_, err := once(ctx, attempt)
		s.count(began, err)
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
	return s
}

func once(ctx context.Context, attempt func(context.Context) (string, error)) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	return attempt(ctx)
}

func (s *Summary) count(began time.Time, err error) {
	now := time.Now()
	s.Slowest = max(s.Slowest, now.Sub(began).Milliseconds())
	if err == nil {
		s.OK++
		return
	}
	s.Failed++
	if len(s.Errors) < maxErrors {
		text := err.Error()
		s.Errors = append(s.Errors, now.UTC().Format("15:04:05.000 ")+text[:min(len(text), maxError)])
	}
}
