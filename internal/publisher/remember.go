package publisher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/state"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// The alarms of a publisher, beside those of keys.Decide.
const (
	AlarmAdopted       keys.AlarmKind = "state-adopted"
	AlarmForeignEdit   keys.AlarmKind = "foreign-edit"
	AlarmIssuerDrift   keys.AlarmKind = "issuer-drift"
	AlarmOwnCredential keys.AlarmKind = "own-credential"
)

// errMissing says that there is no state.
var errMissing = errors.New("it is missing")

// errNoKeys is reported while there is nothing to publish.
var errNoKeys = errors.New("no source shows a key, and none did before; nothing is published")

// decided is the outcome of one decision.
type decided struct {
	projection projection // of the state as it is now
	moved      bool       // the state was changed, or in a plan would be
	before     string     // the state before it moved, rendered
	// sameDocuments says that it moved without a change to what is published.
	sameDocuments bool
	// unconfirmed says that some of its keys were not found published yet.
	unconfirmed bool
}

// decide reads the state, decides on what was gathered, and if that changes the
// state, writes it: the state comes first, the documents follow. A plan does
// not write. What it finds is added to the round.
func (p *Publisher) decide(ctx context.Context, g gathered, round *Round, plan bool) (decided, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	for range conflictTries {
		outcome, err := p.decideOnce(ctx, g, round, plan)
		if errors.Is(err, oidc.ErrConflict) {
			continue
		}
		if err == nil && p.config.State != nil {
			p.stateBackoff.note(nil, p.config.Interval)
		}
		return outcome, err
	}
	return decided{}, fmt.Errorf("writing the state: %w", oidc.ErrConflict)
}

// decideOnce is decide without another try after a conflict.
func (p *Publisher) decideOnce(ctx context.Context, g gathered, round *Round, plan bool) (decided, error) {
	remembered, version, err := p.recall(ctx, plan)
	if err != nil {
		return decided{}, err
	}
	before, err := remembered.Render()
	if err != nil {
		return decided{}, err
	}
	findings := new(findings)
	next, decision := p.next(remembered, string(before), g, findings)
	if len(decision.Records) == 0 {
		return decided{}, g.noKeys()
	}
	outcome, err := p.compare(remembered, string(before), next)
	if err == nil && outcome.moved && !plan {
		err = p.remember(ctx, next, version)
	}
	if err != nil {
		return decided{}, err
	}
	if !plan {
		p.stateChanged = next.Changed
	}
	round.decided(decision, *findings)
	round.StateMissing = round.StateMissing || remembered.lost != nil
	round.StateWritten = round.StateWritten || outcome.moved || plan && outcome.unconfirmed
	return outcome, nil
}

// recalled is the state as it was read.
type recalled struct {
	state.State
	// lost says why there is none although something may be published; nil if
	// there is one, or none is to be expected.
	lost error
	// from is where the state was found instead of in its store; nil if it was there.
	from *keeper
}

// recall reads the state. One that is absent or damaged is replaced by an empty
// one.
func (p *Publisher) recall(ctx context.Context, plan bool) (recalled, oidc.Version, error) {
	if err := p.stateFault(); err != nil {
		return recalled{}, "", err
	}
	remembered, version, err := state.Read(ctx, p.state)
	if ignoreDamage(err) != nil {
		p.stateFailed(err)
	} else {
		p.stateBackoff.answered()
	}
	ours := recalled{State: remembered}
	empty := state.State{Issuer: p.config.Issuer.String()}
	switch {
	case errors.Is(err, oidc.ErrNotFound), errors.Is(err, state.ErrMoved):
		ours = recalled{State: empty, lost: errMissing}
	case errors.Is(err, state.ErrDamaged):
		ours = recalled{State: empty, lost: err}
	case err != nil:
		return recalled{}, "", err
	case remembered.Issuer != p.config.Issuer.String():
		return recalled{}, "", errForeignState(remembered.Issuer, p.config.Issuer.String())
	}
	ours, err = p.settleStrays(ctx, ours, plan)
	return ours, version, err
}

// remember writes the state, unless the process was stopped for so long since it
// decided that what it saw is out of date. The context's own timer may not have
// noticed yet.
func (p *Publisher) remember(ctx context.Context, next state.State, base oidc.Version) error {
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	err := state.Write(ctx, p.state, next, base)
	if err != nil && !errors.Is(err, oidc.ErrConflict) {
		p.stateFailed(err)
	}
	return err
}

// stateFailed has the store of the state left alone for a while.
func (p *Publisher) stateFailed(err error) {
	p.stateBackoff.note(err, p.config.Interval)
	if p.config.State == nil {
		p.keepers[0].last.err = err
	}
}

func ignoreDamage(err error) error {
	if errors.Is(err, oidc.ErrNotFound) || errors.Is(err, state.ErrDamaged) || errors.Is(err, state.ErrMoved) {
		return nil
	}
	return err
}

// stateFault is why the state cannot be read just now, if that is known.
func (p *Publisher) stateFault() error {
	if first := p.keepers[0]; p.config.State == nil && first.last.err != nil {
		return fmt.Errorf("the state is in store %q: %w", first.Name, first.fault())
	}
	if !p.stateBackoff.due() {
		return errors.New("the state could not be read or written a moment ago, and is left alone for a while")
	}
	return nil
}

// findings are what is wrong or worth a word beside the decision.
type findings struct {
	alarms, events []keys.Alarm // those that hold now; those that are over once the round is
	warnings       []string
	// repaired says by store what somebody else had done to it.
	repaired map[string]string
	// forgotten says that keys may be lost, because neither state nor documents could be read.
	forgotten error
}

// next decides what the state should be after the remembered one, which was
// rendered as before.
func (p *Publisher) next(remembered recalled, before string, g gathered, found *findings) (state.State, keys.Decision) {
	found.alarms = append(found.alarms, p.config.Cautions...)
	observations, matched := p.checkDrift(remembered.State, g, found)
	adopt, stores := p.adopt(remembered, found)
	p.checkEdits(remembered.State, before, found)
	now := g.now(p.watch.now())
	decision := keys.Decide(keys.Situation{
		Now: now, First: firstPublication(remembered.State, now), Records: remembered.Records, Adopt: adopt,
		Observations: observations, Signing: g.signing(), Held: held(p.keepers, before), Policy: p.config.Policy,
	})
	found.alarms = append(found.alarms, decision.Alarms...)
	if remembered.from != nil {
		found.warnings = append(found.warnings, fmt.Sprintf("took over the state that was in store %s", remembered.from.Name))
	}
	next := remembered.With(decision.Records, stores, matched)
	next.Settled = remembered.Settled || remembered.lost != nil && adopt.Len() > 0 || !slices.ContainsFunc(observations, incomplete)
	return next.Since(remembered.State, now.Latest), decision
}

func incomplete(o keys.Observation) bool { return o.Err != nil || o.Partial }

// firstWindow bounds the first publication where an origin never answers.
const firstWindow = 10 * time.Minute

// firstPublication reports whether the first publication has begun and still
// waits for origins: what they show may sign already.
func firstPublication(remembered state.State, now keys.Moment) bool {
	if remembered.Settled || len(remembered.Records) == 0 {
		return false // over, or not begun
	}
	for _, record := range remembered.Records {
		if now.Latest.Sub(record.Seen) > firstWindow {
			return false
		}
	}
	return true
}

// checkDrift looks whether the clusters sign with a configured issuer. Until
// one did, that is a warning: publishing ahead of the switch must work. One
// that did and no longer does counts as failing: whatever it is now, its keys
// must not become trusted for this issuer, nor others leave.
func (p *Publisher) checkDrift(remembered state.State, g gathered, found *findings) (all []keys.Observation, matched []string) {
	for i, a := range g.answers {
		name, observations := g.names[i], a.observations
		if len(observations) > 0 {
			name = observations[0].Origin
		}
		switch {
		case a.issuer == "":
		case p.config.configured(a.issuer):
			matched = append(matched, name)
		case remembered.HasMatched(name):
			text := driftText(a.issuer, p.config.Issuer.String()) + "; its keys are not taken over until then"
			found.alarms = append(found.alarms, keys.Alarm{Kind: AlarmIssuerDrift, Origin: name, Text: text})
			observations = failing(observations, errors.New("it signs with another issuer"))
		default:
			found.warnings = append(found.warnings, driftText(a.issuer, p.config.Issuer.String()))
		}
		all = append(all, observations...)
	}
	return all, matched
}

func failing(observations []keys.Observation, err error) (all []keys.Observation) {
	for _, observation := range observations {
		all = append(all, keys.Observation{Origin: observation.Origin, Group: observation.Group, Err: err})
	}
	return all
}

// adopt returns the keys of the stores that the state does not know yet, and
// the names of those stores. If the state was lost these are all that hold
// anything.
func (p *Publisher) adopt(remembered recalled, found *findings) (adopted keys.Set, stores []string) {
	var from []string
	for _, k := range p.keepers {
		if k.last.err != nil || remembered.Knows(k.Name) {
			continue
		}
		stores = append(stores, k.Name)
		if k.last.holding.Keys.Len() > 0 {
			from = append(from, k.Name)
		}
		if len(k.last.holding.Damage) > 0 {
			found.forgotten = fmt.Errorf("store %s: its JWK set could not be read whole and nobody remembers it: keys that only it had are lost: %w", k.Name, k.last.holding.Damage[0])
		}
		adopted = join(adopted, k.last.holding.Keys)
	}
	switch {
	case remembered.lost != nil && (len(from) > 0 || !errors.Is(remembered.lost, errMissing)):
		found.events = append(found.events, keys.Alarm{Kind: AlarmAdopted, KeyIDs: adopted.IDs(), Text: fmt.Sprintf(
			"the state could not be read (%v), so the %d published keys were taken over; normal once after an upgrade; otherwise find out who may write to the store, and revoke again what was revoked", remembered.lost, adopted.Len())})
	case len(from) > 0:
		found.warnings = append(found.warnings, fmt.Sprintf("took over the %d keys that %s held already", adopted.Len(), strings.Join(from, " and ")))
	}
	return adopted, stores
}

// checkEdits looks whether somebody else changed what the stores hold.
func (p *Publisher) checkEdits(remembered state.State, rendered string, found *findings) {
	found.repaired = make(map[string]string)
	documents, err := p.documents(remembered)
	if err != nil {
		return // there is no state yet
	}
	current := projection{documents, rendered}
	for _, k := range p.keepers {
		if !remembered.Knows(k.Name) {
			continue
		}
		edits := k.edits(current, remembered)
		if edits == "" {
			continue
		}
		found.repaired[k.Name] = edits
		found.events = append(found.events, keys.Alarm{Kind: AlarmForeignEdit, Origin: "store " + k.Name, Text: fmt.Sprintf(
			"store %s did not hold what was published: %s; every round puts that right: find out who else may write to it", k.Name, edits)})
	}
}

// compare returns the projection of the next state, and how it differs from the
// remembered one, which was rendered as before. One that was found elsewhere
// moves in any case: to its store.
func (p *Publisher) compare(remembered recalled, before string, next state.State) (decided, error) {
	projection, err := p.project(next)
	return decided{
		projection: projection, moved: before != projection.state || remembered.from != nil, before: before,
		sameDocuments: remembered.Published().Equal(projection.documents.Keys),
		unconfirmed:   slices.ContainsFunc(next.Records, unconfirmed),
	}, err
}

// unconfirmed reports whether the key is published but was not found to be.
func unconfirmed(r keys.Record) bool { return r.Revoked.IsZero() && r.Published.IsZero() }

// currentProjection is the projection of the state as it is in its store now.
func (p *Publisher) currentProjection(ctx context.Context) (projection, error) {
	remembered, _, err := state.Read(ctx, p.state)
	if err == nil && remembered.Issuer != p.config.Issuer.String() {
		err = errForeignState(remembered.Issuer, p.config.Issuer.String())
	}
	if err != nil {
		return projection{}, err
	}
	return p.project(remembered)
}

func errForeignState(actual, configured string) error {
	return fmt.Errorf("the state is that of issuer %q; give %q a store of its own, or delete %s", actual, configured, state.Path)
}

// project makes the projection of a state.
func (p *Publisher) project(s state.State) (projection, error) {
	rendered, err := s.Render()
	if err != nil {
		return projection{}, err
	}
	documents, err := p.documents(s)
	return projection{documents, string(rendered)}, err
}

func (p *Publisher) documents(s state.State) (oidc.Documents, error) {
	documents, err := oidc.Render(p.config.Issuer, s.Published())
	return documents.WithMaxAge(p.config.MaxAge), err
}

// join is keys.Union in which the first of two clashing keys stays.
func join(a, b keys.Set) keys.Set {
	joined, err := keys.Union(a, b.Without(a))
	if err != nil {
		return a
	}
	return joined
}
