package servingcert

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// Print prints what is served, private key and all, as somebody might who does
// not know what it is.
func Print(c *Certificate) string {
	served := c.served.Load()
	return fmt.Sprintf("%v %+v %#v %s %x %v", served, served, served, served, served, []any{served})
}

// Generation is a certificate of which only the names and the end are known.
type Generation struct {
	Ends  time.Duration // after now
	Names []string
}

func (g *Generation) at(now time.Time) *generation {
	if g == nil {
		return nil
	}
	return &generation{leaf: &x509.Certificate{NotAfter: now.Add(g.Ends), DNSNames: g.Names}}
}

// Situation is what Decide decides by.
type Situation struct {
	Current, Next, Held *Generation
	Previous            time.Duration // when it ends; 0: none
	Damaged, Settled    bool
}

// Decide tells what is done in a situation, for a lifetime and names.
func Decide(s Situation, lifetime time.Duration, names ...string) string {
	now := time.Unix(1e9, 0)
	internal := situation{
		now: now, names: names, lifetime: lifetime, held: s.Held.at(now), settled: s.Settled,
		stored: content{current: s.Current.at(now), next: s.Next.at(now)},
	}
	if s.Damaged {
		internal.damage = errors.New("damaged")
	}
	if s.Previous != 0 {
		internal.stored.previous = &x509.Certificate{NotAfter: now.Add(s.Previous)}
	}
	return string(internal.decide())
}
