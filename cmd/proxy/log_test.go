package main

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/issuer-sync/issuer-sync/test/program"
)

// newLog returns a log as serving has it, and what was written of it.
func newLog(t *testing.T) (*slog.Logger, *joined, *program.Output) {
	t.Helper()
	o, err := parse(serveCommand().settings, nil, func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	written := new(program.Output)
	lines := join(written)
	return o.logger(lines), lines, written
}

func TestLinesWaitForOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, _, written := newLog(t)
		for range 3 { // the timer starts anew
			log.Info("first")
			time.Sleep(joinFor - time.Nanosecond)
			log.Info("second")
			synctest.Wait()
			if text := written.Take(); text != "" {
				t.Errorf("%s after the first line there was written:\n%s", joinFor-time.Nanosecond, text)
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if text := written.Take(); strings.Count(text, "\n") != 2 || strings.Index(text, "msg=first") > strings.Index(text, "msg=second") {
				t.Errorf("%s after the first line there was written:\n%s", joinFor, text)
			}
			time.Sleep(time.Hour)
		}
	})
}

func TestWarningsDoNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for level, want := range map[slog.Level]int{slog.LevelInfo: 0, slog.LevelWarn: 2, slog.LevelError: 2} {
			plain, _, written := newLog(t)
			for name, log := range map[string]*slog.Logger{"plain": plain, "with attributes": plain.With("a", 1), "with a group": plain.WithGroup("g")} {
				log.Info("what was before")
				log.Log(t.Context(), level, "what counts")
				if text := written.Take(); strings.Count(text, "\n") != want {
					t.Errorf("%s, %s: at once there was written %q; want %d lines", level, name, text, want)
				}
				time.Sleep(joinFor)
				synctest.Wait()
				written.Take()
			}
		}
	})
}

func TestNoLineIsLost(t *testing.T) {
	t.Parallel()
	log, lines, written := newLog(t)
	const loggers, each = 16, 500 // several times what may wait
	var want []string
	var all sync.WaitGroup
	for i := range loggers {
		all.Go(func() {
			for n := range each {
				log.Info("said", "what", fmt.Sprintf("%d-%d", i, n))
			}
		})
		for n := range each {
			want = append(want, fmt.Sprintf("level=INFO msg=said what=%d-%d\n", i, n))
		}
	}
	all.Wait()
	lines.flush()
	var got []string
	for line := range strings.Lines(written.String()) {
		_, line, _ = strings.Cut(line, " ") // the time
		got = append(got, line)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		t.Errorf("%d lines were written; want each of %d once, as it was", len(got), len(want))
	}
}

// The last lines before SIGTERM are written, too.
func TestServeWritesItsLastLines(t *testing.T) {
	t.Parallel()
	p := launch(t, []string{"AZURE_TENANT_ID=" + tenant, "AZURE_FEDERATED_TOKEN_FILE=/nonexistent"})
	const requests = 200
	for range requests {
		p.get(t, "127.0.0.1", "&object_id=1") // refused: a line at level info
	}
	p.terminate(t)
	p.wantEnd(t)
	if n := strings.Count(p.stderr.String(), "msg=answered"); n != requests {
		t.Errorf("%d lines for %d requests", n, requests)
	}
}
