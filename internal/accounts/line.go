package accounts

import (
	"errors"
	"log/slog"
	"sync"
	"time"
)

// quietTime is how long the watch may fail before the log has it: API servers
// restart, and nothing comes of it.
const quietTime = 30 * time.Second

// line is how the line to the API server is: whether the watch works, and since
// when it does not. It is safe for concurrent use; the zero value is one that
// nobody has tried.
type line struct {
	mu    sync.Mutex // guards what follows
	stale time.Time  // when what is kept was last known to be current; zero: it is, the watch works
	err   error      // of the last list or watch; nil: it has not failed
	told  bool       // whether the log has the problem
}

// attempt is called before each list and watch: one that is never answered
// counts from its begin.
func (l *line) attempt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stale.IsZero() {
		l.stale = time.Now()
	}
}

// listed is called with the result of a list. What it shows is current, but
// nobody hears of changes yet.
func (l *line) listed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err = err; err == nil {
		l.stale = time.Now()
	}
}

// watching is called with the result of beginning a watch.
func (l *line) watching(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err = err; err == nil {
		l.stale = time.Time{}
	}
}

// trouble is why the last list or watch failed; nil: it did not.
func (l *line) trouble() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// staleFor is how long the watch has not worked; 0 while it does.
func (l *line) staleFor() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stale.IsZero() {
		return 0
	}
	return time.Since(l.stale)
}

// report logs a problem once it has lasted for quietTime, and that it is over.
func (l *line) report(log *slog.Logger) {
	stale := l.staleFor()
	l.mu.Lock()
	err, told := l.err, l.told
	l.told = stale >= quietTime || told && stale > 0
	now := l.told
	l.mu.Unlock()
	switch {
	case now == told:
	case told:
		log.Info("problem is over", "subject", "service accounts")
	default:
		if err == nil {
			err = errors.New("the API server has not answered yet")
		}
		log.Warn("problem", "subject", "service accounts", "err", err)
	}
}
