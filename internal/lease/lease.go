// Package lease elects a leader among the replicas of a program, by a Lease of
// coordination.k8s.io/v1 with the fields and the rules of client-go's elector:
// both may stand for the same Lease. docs/decisions/0005-own-lease.md says why
// it is not client-go's.
//
// Election saves work, no more: every write to a store is compare-and-swap, so
// two leaders for a moment lose nothing. A leader may be one for a moment too
// long where its clock stands still, as on a suspended machine.
//
// While the API server cannot be reached nobody leads. Nothing is written then,
// to stores outside the cluster neither, and what is published stays. That is
// meant: the keys come from that API server, so there are no new ones; a key
// that should leave leaves later; somebody else's edit is repaired afterwards.
// Who takes keys from elsewhere and cannot wait runs without election.
package lease

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"reflect"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// The times of client-go's elector and of Kubernetes' own components. A leader
// that hears nothing stops before another one may begin, even if their clocks
// go at rates as different as 3 to 2.
const (
	// leaseDuration is how long a candidate waits for a leader that is silent.
	leaseDuration = 15 * time.Second
	// renewDeadline is how long a leader leads after it sent its last renewal.
	renewDeadline = 10 * time.Second
	// retryPeriod is the longest time between two attempts, of leader or candidate.
	retryPeriod = 2 * time.Second
	// attemptTimeout leaves time for a second attempt before renewDeadline.
	attemptTimeout = renewDeadline / 2
)

// Config says who stands for which Lease.
type Config struct {
	// Client reaches the API server by absolute paths and knows the kind Lease.
	// Required.
	Client rest.Interface
	// Name is that of the Lease, which is created if it is missing. Required.
	Name types.NamespacedName
	// Identity names this process, and no other one, to people and to the other
	// candidates. Empty: a random one.
	Identity string
	// Log receives each change of the leader, and what prevents an election when
	// it begins and when it is over. Required.
	Log *slog.Logger
	// Changed is told by Run when this process begins to lead and when it leads
	// no more. Renewals wait until it returns. May be nil.
	Changed func(leads bool)
}

// Elector is a candidate. Leads and Leader are safe for concurrent use.
type Elector struct {
	config Config // immutable

	mu     sync.Mutex // guards what follows; Run alone writes it
	leader string     // the holder of the lease, as last seen
	until  time.Time  // when this process leads no more, by the monotonic clock

	// What follows is Run's alone.
	lease   *coordinationv1.Lease // as last seen; nil: none
	seen    time.Time             // when its spec was first seen to be so
	told    standing              // what the log and Changed know
	problem string                // what kind of problem the log knows; empty: none
}

// standing is what the world wants to know of an election.
type standing struct {
	leader string
	leads  bool
}

// New returns a candidate. It asks nobody yet.
func New(config Config) *Elector {
	if config.Identity == "" {
		config.Identity = rand.Text()
	}
	return &Elector{config: config}
}

// Leads reports whether this process is the leader. It is false from the moment
// that the last renewal is too old, whatever Run waits for.
func (e *Elector) Leads() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return time.Now().Before(e.until)
}

// Leader returns the identity of the leader as last seen, which may have died
// since. It is whatever stands in the Lease; empty if that is nobody, or unknown.
func (e *Elector) Leader() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.leader
}

// Run stands for election until ctx ends. Then it gives up the lease, so that
// another one takes over at once, and returns nil; that takes 5 s at most, where
// the API server does not answer. It is called once.
func (e *Elector) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := e.attempt(ctx); ctx.Err() == nil {
			e.report(err)
		}
		e.announce()
		e.pause(ctx)
		e.announce()
	}
	led := e.Leads()
	e.resign()
	e.announce()
	if err := e.release(ctx); err != nil && led {
		e.config.Log.Warn("left the lease to expire", "lease", e.config.Name.String(), "err", err)
	}
	return nil
}

// attempt renews the lease, or takes it if it is free, or sees who has it. That
// another candidate was faster is no error.
func (e *Elector) attempt(ctx context.Context) error {
	deadline := time.Now().Add(attemptTimeout)
	if e.Leads() && e.until.Before(deadline) {
		deadline = e.until
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	err := errMoved
	if e.Leads() { // nobody else should have written: no need to look
		err = e.write(ctx, e.config.Identity)
	}
	if errors.Is(err, errMoved) {
		if err = e.read(ctx); err == nil && !e.taken() {
			err = e.write(ctx, e.config.Identity)
		}
	}
	if errors.Is(err, errMoved) {
		return nil // the next attempt looks again
	}
	return err
}

// resign ends this process's leadership, whatever stands in the lease.
func (e *Elector) resign() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.until = time.Time{}
}

// release gives up the lease. It looks first: the end of ctx may have cut off a
// renewal, or the very attempt to take the lease, after the server had done it.
func (e *Elector) release(ctx context.Context) error {
	if e.taken() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptTimeout)
	defer cancel()
	if err := e.read(ctx); err != nil || e.leader != e.config.Identity {
		return err
	}
	return e.write(ctx, "")
}

// taken reports whether another process has the lease.
func (e *Elector) taken() bool {
	return e.leader != "" && e.leader != e.config.Identity && time.Now().Before(e.expiry())
}

// expiry is when the lease that somebody has is anybody's. Only this process's
// clock counts, from when it saw the spec change; other machines' clocks, by
// which the times in the spec are, may be wrong.
func (e *Elector) expiry() time.Time {
	if e.lease.Spec.LeaseDurationSeconds == nil {
		return e.seen.Add(leaseDuration)
	}
	return e.seen.Add(time.Duration(*e.lease.Spec.LeaseDurationSeconds) * time.Second)
}

// note keeps the lease as the server has it, nil for none. until is for how long
// that makes this process the leader if it has the lease; zero: no change.
func (e *Elector) note(lease *coordinationv1.Lease, until time.Time) {
	if lease == nil || e.lease == nil || !reflect.DeepEqual(lease.Spec, e.lease.Spec) {
		e.seen = time.Now()
	}
	e.lease = lease
	e.mu.Lock()
	defer e.mu.Unlock()
	e.leader = ""
	if lease != nil && lease.Spec.HolderIdentity != nil {
		e.leader = *lease.Spec.HolderIdentity
	}
	switch {
	case e.leader != e.config.Identity:
		e.until = time.Time{}
	case !until.IsZero():
		e.until = until
	}
}

// pause waits for the next attempt: up to a quarter less than retryPeriod, so
// that candidates do not all ask at once, and no longer than to the moment when
// the lease expires, for this process if it leads or else for the other one.
func (e *Elector) pause(ctx context.Context) {
	wait := retryPeriod - mathrand.N(retryPeriod/4)
	moment := e.until
	if e.taken() {
		moment = e.expiry()
	}
	if left := time.Until(moment); left > 0 {
		wait = min(wait, left)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// announce tells what has changed since it was last called.
func (e *Elector) announce() {
	now := standing{leader: e.Leader(), leads: e.Leads()}
	before := e.told
	e.told = now
	if now != before {
		e.config.Log.Info("leadership changed", "lease", e.config.Name.String(), "leader", now.leader, "leads", now.leads)
	}
	if now.leads != before.leads && e.config.Changed != nil {
		e.config.Changed(now.leads)
	}
}

// report logs a problem when its kind changes, not at each attempt.
func (e *Elector) report(err error) {
	before := e.problem
	e.problem = kind(err)
	switch {
	case e.problem == before:
	case err == nil:
		e.config.Log.Info("problem is over", "subject", "leader election")
	default:
		e.config.Log.Warn("problem", "subject", "leader election", "err", err)
	}
}
