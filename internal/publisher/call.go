package publisher

import (
	"errors"
	"sync/atomic"
)

// errLate stands for the answer of one that is still being asked. It is no
// problem by itself: it will become an answer or another error.
var errLate = errors.New("no answer yet")

// call runs one function at a time in the background, and hands its result to
// a caller who will wait for so long and no longer. Its methods are for one
// goroutine.
type call[T any] struct {
	results chan T // of the function under way
	running bool
	overdue bool        // it was waited for in vain
	late    atomic.Bool // nobody waits for it any more
}

func newCall[T any]() call[T] { return call[T]{results: make(chan T, 1)} }

// begin runs the function unless one is running already. If the result comes
// too late for await, late is called when it is there.
func (c *call[T]) begin(work func() T, late func()) {
	if c.running {
		return
	}
	c.running, c.overdue = true, false
	go func() {
		c.results <- work()
		if c.late.Swap(false) && late != nil {
			late()
		}
	}()
}

// await returns the result; errLate if there is none before patience ends. What
// was waited for in vain once is not waited for again.
func (c *call[T]) await(patience <-chan struct{}) (result T, err error) {
	if !c.overdue {
		select {
		case result = <-c.results:
			c.running = false
			return result, nil
		case <-patience:
		}
	}
	c.overdue = true
	c.late.Store(true)
	select {
	case result = <-c.results: // it came just now
		c.late.Store(false)
		c.running = false
		return result, nil
	default:
		return result, errLate
	}
}

// settle waits for the function under way, whose context has ended.
func (c *call[T]) settle() {
	if c.running {
		<-c.results
		c.running = false
	}
}
