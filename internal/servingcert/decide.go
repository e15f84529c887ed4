package servingcert

import (
	"slices"
	"time"
)

// change is what is done to the Secret. The string is for the log.
type change string

const (
	nothing change = ""
	// begin makes a certificate that is served as soon as its CA is in the
	// caBundle: there is nothing to wait for, as nothing else works.
	begin change = "made a certificate"
	// restore writes back what this process serves, and makes the next one: who
	// empties the Secret wants other certificates, or made a mistake.
	restore change = "restored the certificate and made the next one"
	// stage makes the next certificate, whose CA then gets into the caBundle.
	stage change = "made the next certificate"
	// promote has all replicas serve the next certificate.
	promote change = "took the next certificate"
	// tidy removes what is of no use.
	tidy change = "removed what had expired or was damaged"
)

// situation is all that a decision depends on.
type situation struct {
	now      time.Time
	names    []string      // which the certificate must have
	lifetime time.Duration // of a new certificate
	stored   content       // what the Secret says
	damage   error         // what else it says, which is of no use; nil: nothing
	held     *generation   // what this process serves; nil: nothing
	settled  bool          // whether the next one's CA has been in the caBundle for long enough
}

// decide is the whole life of a certificate. It is a pure function.
//
// The names of the next one are looked at only when the current one is of no
// use: replicas that disagree about names, as in a roll-out, must not replace
// each other's next one in turns.
func (s situation) decide() change {
	current, next := s.stored.current, s.stored.next
	switch {
	case s.usable(current):
		return s.renew()
	case current == nil && s.usable(s.held):
		return restore
	case s.usable(next):
		return promote
	default:
		return begin
	}
}

// renew decides while the current certificate does its work.
func (s situation) renew() change {
	next, previous := s.stored.next, s.stored.previous
	due := s.stored.current.expiry().Add(-s.lifetime / 3)
	switch {
	case next != nil && !s.now.Before(next.expiry()), next == nil && !s.now.Before(due):
		return stage
	case next != nil && s.settled:
		return promote
	case s.damage != nil, previous != nil && !s.now.Before(previous.NotAfter):
		return tidy
	default:
		return nothing
	}
}

// usable does not ask when validity begins: where that is in the future, this
// process's clock is behind another one's, and it is not for it to judge.
func (s situation) usable(g *generation) bool {
	return g != nil && s.now.Before(g.expiry()) && g.covers(s.names)
}

// namesOfNew are those of a new certificate. One that replaces another for the
// lack of a name keeps the other's names, so that two replicas with different
// names agree in the end.
func (s situation) namesOfNew(change change) []string {
	if current := s.stored.current; change == begin && current != nil && s.now.Before(current.expiry()) {
		return union(s.names, current.leaf.DNSNames)
	}
	return s.names
}

func union(a, b []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(a, b))))
}

// after is what the Secret shall say when the change is made, with a fresh
// generation where it needs one. The CA of what is replaced stays until it
// expires.
func (s situation) after(change change, fresh *generation) content {
	c, old := s.stored, s.stored.current
	switch change {
	case begin:
		c.current, c.next = fresh, nil
	case restore:
		c.current = s.held
		if c.next == nil {
			c.next = fresh
		}
	case stage:
		c.next = fresh
	case promote:
		c.current, c.next = c.next, nil
	case nothing, tidy:
	}
	if old != nil && old != c.current {
		c.previous = old.ca
	}
	if c.previous != nil && !s.now.Before(c.previous.NotAfter) {
		c.previous = nil
	}
	return c
}
