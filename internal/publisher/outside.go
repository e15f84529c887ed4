package publisher

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// snapshot is what the outside should see at one moment.
type snapshot struct {
	keys    keys.Set
	written time.Time // when a store was last written
}

// note takes the snapshot after a round.
func (p *Publisher) note() {
	s := snapshot{keys: p.served, written: p.stateChanged}
	for _, k := range p.keepers {
		if k.written.After(s.written) {
			s.written = k.written
		}
	}
	p.current.Store(&s)
}

// look sees the public documents as a relying party does, and whether they are
// those that were published. It may run while the next round does.
func (p *Publisher) look(ctx context.Context) oidc.Report {
	ctx, cancel := context.WithTimeout(ctx, outsideTimeout)
	defer cancel()
	before := p.current.Load()
	report := p.config.Outside(ctx)
	if report.JWKS.Path != "" { // else a check says why there is none
		report.Checks = append(report.Checks, before.check(report.Keys, p.current.Load().keys, p.config.MaxAge))
	}
	return report
}

// check compares the public keys with those published before the look and by
// its end. A cache may show what was there a max-age ago; after that nobody may.
func (s snapshot) check(public, since keys.Set, maxAge time.Duration) oidc.Check {
	check := oidc.Check{Name: "published keys", Status: oidc.Pass, Detail: fmt.Sprintf("the %d published keys, and no other", s.keys.Len())}
	var differ []string
	if missing := s.keys.Without(public); missing.Len() > 0 {
		differ = append(differ, "published but not public: "+strings.Join(missing.IDs(), ", "))
	}
	if foreign := public.Without(since); foreign.Len() > 0 {
		differ = append(differ, "public but not published: "+strings.Join(foreign.IDs(), ", "))
	}
	if _, err := keys.Union(public, since); err != nil {
		differ = append(differ, "public under the ID of another published key: "+err.Error())
	}
	if len(differ) == 0 {
		return check
	}
	check.Detail = strings.Join(differ, "; ")
	check.Status = oidc.Fail
	check.Cure = "see what stands between the store and the public address: another store, an old copy, a cache"
	if time.Since(s.written) <= maxAge {
		check.Status = oidc.Warn
		check.Cure = fmt.Sprintf("wait for caches until %s", s.written.Add(maxAge).UTC().Format(time.TimeOnly))
	}
	return check
}
