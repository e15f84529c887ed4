package load_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/test/e2e/workloads/load"
)

// errOdd is what every second attempt comes to.
var errOdd = errors.New("odd")

func TestSummary(t *testing.T) {
	for name, c := range map[string]struct {
		loop  load.Loop
		takes time.Duration // each attempt
		fails func(n int) error
		want  load.Summary
	}{
		"all is well": {
			load.Loop{Every: 200 * time.Millisecond, For: 1900 * time.Millisecond},
			7 * time.Millisecond,
			func(int) error { return nil },
			load.Summary{OK: 10, Slowest: 7, Errors: []string{}},
		},
		"some fail": {
			load.Loop{Every: time.Second, For: 3500 * time.Millisecond},
			0,
			func(n int) error {
				if n%2 == 1 {
					return errOdd
				}
				return nil
			},
			load.Summary{OK: 2, Failed: 2, Errors: []string{"00:00:01.000 odd", "00:00:03.000 odd"}},
		},
		"more errors than are kept": {
			load.Loop{Every: time.Second, For: 40500 * time.Millisecond},
			0,
			func(int) error { return errors.New(strings.Repeat("x", 2000)) },
			load.Summary{Failed: 41, Errors: fortyErrors()},
		},
		"attempts that take longer than the pace, the last beyond the end": {
			load.Loop{Every: 100 * time.Millisecond, For: 1100 * time.Millisecond},
			500 * time.Millisecond,
			func(int) error { return nil },
			load.Summary{OK: 3, Slowest: 500, Errors: []string{}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // whose clock begins at midnight UTC
				n := -1
				got := run(t.Context(), t, c.loop, func(context.Context) (string, error) {
					n++
					time.Sleep(c.takes)
					return "", c.fails(n)
				})
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			})
		})
	}
}

// Whoever is stopped finishes what it has begun, and counts it for what it was.
func TestEndDoesNotCutAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		got := run(ctx, t, load.Loop{Every: time.Second}, func(ctx context.Context) (string, error) {
			stop()
			time.Sleep(5 * time.Second)
			return "", ctx.Err()
		})
		if diff := cmp.Diff(load.Summary{OK: 1, Slowest: 5000, Errors: []string{}}, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// An attempt without end is a failure, and there is a summary all the same.
func TestAttemptsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := run(t.Context(), t, load.Loop{Every: time.Second, For: time.Second}, func(ctx context.Context) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		})
		if diff := cmp.Diff(load.Summary{Failed: 1, Slowest: 20_000, Errors: []string{"00:00:20.000 context deadline exceeded"}}, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

func TestOnce(t *testing.T) {
	var out bytes.Buffer
	err := load.Loop{}.Run(t.Context(), &out, func(context.Context) (string, error) { return "done", nil })
	if err != nil || out.String() != "done\n" {
		t.Errorf("got %q, error %v", &out, err)
	}
	out.Reset()
	err = load.Loop{}.Run(t.Context(), &out, func(context.Context) (string, error) { return "x", errOdd })
	if !errors.Is(err, errOdd) || out.Len() > 0 {
		t.Errorf("got %q, error %v; want nothing but the error", &out, err)
	}
}

func TestFlags(t *testing.T) {
	flags := flag.NewFlagSet("workload", flag.ContinueOnError)
	loop := load.Flags(flags)
	if err := flags.Parse([]string{"-every", "200ms", "-for", "60s"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&load.Loop{Every: 200 * time.Millisecond, For: time.Minute}, loop); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// run wants one line with a summary.
func run(ctx context.Context, t *testing.T, loop load.Loop, attempt func(context.Context) (string, error)) (s load.Summary) {
	t.Helper()
	var out bytes.Buffer
	if err := loop.Run(ctx, &out, attempt); err != nil {
		t.Fatal(err)
	}
	if strings.Count(out.String(), "\n") != 1 {
		t.Errorf("got %q; want one line", &out)
	}
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// fortyErrors are those of the first 40 seconds, each cut.
func fortyErrors() (errs []string) {
	for n := range 40 {
		errs = append(errs, fmt.Sprintf("00:00:%02d.000 %s", n, strings.Repeat("x", 300)))
	}
	return errs
}
