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

// keeper keeps one store equal to the projection of the state. It does one
// thing at a time, in the background, so that a store that hangs holds up no
// other.
type keeper struct {
	Store
	issuer   oidc.Issuer
	interval time.Duration
	call     call[outcome]
	backoff  backoff
	last     outcome
	// republish says that the state moved since the store was last written: the
	// JWK set must be written even if it is the same, so that a writer which
	// was paused with the state from before cannot overwrite it any more.
	republish bool
	// fenced is the state after which this process wrote the JWK set: every
	// writer that decided before has lost the race. Empty if it wrote none.
	fenced string
	// confirmed is the state, as it was rendered, whose projection the store
	// was last found to hold; empty if it was not yet.
	confirmed string
	written   time.Time // when something was last written
	// stray is a state that was in the store though another one is for it;
	// strayKnown says that it was looked for. keepsState: this is the one for it.
	stray                  *stray
	strayKnown, keepsState bool
}

// outcome is how a look at the store, or a writing to it, ended.
type outcome struct {
	holding oidc.Holding // unless err is set
	written []string     // paths, also beside an error
	err     error
	// confirmed and republished are what a writing achieved; see keeper.
	confirmed   string
	republished bool
	// stray and strayKnown are of a look for one; see keeper.
	stray      *stray
	strayKnown bool
}

func newKeeper(store Store, issuer oidc.Issuer, interval time.Duration) *keeper {
	return &keeper{Store: store, issuer: issuer, interval: interval, call: newCall[outcome](), last: outcome{err: errLate}}
}

// look begins to read what the store holds, unless it failed a moment ago.
func (k *keeper) look(ctx context.Context, late func()) {
	if !k.backoff.due() {
		return
	}
	known := k.strayKnown || k.keepsState
	k.call.begin(func() (o outcome) {
		ctx, cancel := context.WithTimeout(ctx, storeTimeout)
		defer cancel()
		if o.holding, o.err = k.hold(ctx); o.err == nil && !known {
			o.stray, o.err = findStray(ctx, k.Store, k.issuer)
			o.strayKnown = o.err == nil
		}
		return o
	}, late)
}

// sync begins to write what the state says. The state is read after the
// documents that are to be replaced: whoever moves it later writes them later,
// and then this write conflicts.
func (k *keeper) sync(ctx context.Context, read func(context.Context) (projection, error), late func()) {
	publish := oidc.Publish
	if k.republish {
		publish = oidc.Republish
	}
	k.call.begin(func() (o outcome) {
		ctx, cancel := context.WithTimeout(ctx, storeTimeout)
		defer cancel()
		for range conflictTries {
			var current projection
			if o.holding, o.err = k.hold(ctx); o.err != nil {
				return o
			}
			if current, o.err = read(ctx); o.err != nil {
				return o
			}
			var written []string
			written, o.err = publish(ctx, k.Store, current.documents, o.holding)
			o.written = append(o.written, written...)
			if o.err == nil {
				o.confirmed, o.republished = current.state, true
				o.holding, o.err = k.hold(ctx)
				return o
			}
			if !errors.Is(o.err, oidc.ErrConflict) {
				return o
			}
		}
		return o
	}, late)
}

// conflictTries is how often a writer that lost a race tries again at once. In
// each race somebody wins, so with a handful of writers this ends; if not, the
// next round goes on.
const conflictTries = 5

// hold reads the store, and refuses one that holds another issuer's documents:
// a slip in a URL would break that issuer, and make its keys trusted for this one.
func (k *keeper) hold(ctx context.Context) (oidc.Holding, error) {
	holding, err := oidc.Hold(ctx, k.Store)
	if err == nil && holding.Issuer != "" && holding.Issuer != k.issuer.String() {
		err = fmt.Errorf("it holds the documents of issuer %q; give %q a store of its own, or delete them first", holding.Issuer, k.issuer)
	}
	return holding, err
}

// await takes the outcome of what was begun. It returns the paths that were
// written.
func (k *keeper) await(patience <-chan struct{}) (written []string) {
	if !k.call.running {
		return nil
	}
	o, late := k.call.await(patience)
	if late != nil {
		k.last.err = late // what it held before is no longer sure
		return nil
	}
	if k.last = o; o.strayKnown {
		k.strayKnown, k.stray = true, o.stray
	}
	if o.err != nil || o.republished {
		k.backoff.note(o.err, k.interval)
	} else {
		k.backoff.answered()
	}
	if o.republished {
		k.republish, k.confirmed = false, o.confirmed
		if slices.Contains(o.written, oidc.JWKSPath) {
			k.fenced = o.confirmed
		}
	}
	if len(o.written) > 0 {
		k.written = time.Now()
	}
	return o.written
}

// fault is why nothing is known of the store, or why it could not be written.
func (k *keeper) fault() error {
	if k.backoff.asked && !k.backoff.due() {
		return fmt.Errorf("left alone for a while, as it asked: %w", k.last.err)
	}
	return k.last.err
}

// follow takes note that the state moved. A move that changes no document, as
// the note that they were found published, needs no other fence. Before that
// note somebody must have set one: whoever moved the state may have crashed.
func (k *keeper) follow(d decided) {
	switch {
	case d.moved && d.sameDocuments && k.fenced == d.before:
		k.fenced = d.projection.state
	case d.moved, d.unconfirmed && k.fenced != d.projection.state:
		k.republish = true
	}
}

// edits says what somebody else did to the store, if the state is the one whose
// projection it held before; "" if nothing. At the first look nobody can tell
// a crash between state and documents from an edit, so that only what this
// program would never have left behind counts.
func (k *keeper) edits(current projection, remembered state.State) string {
	if k.last.err != nil || k.confirmed != "" && k.confirmed != current.state {
		return "" // unknown, or the state moved, and the documents follow
	}
	var found []string
	held, wanted := k.last.holding.Keys, current.documents.Keys
	for _, fault := range k.last.holding.Damage {
		found = append(found, fault.Error())
	}
	foreign := held.Without(wanted).IDs()
	if k.confirmed == "" { // a removal or revocation may not have come to its end here
		foreign = slices.DeleteFunc(foreign, remembered.Had)
	}
	if len(foreign) > 0 {
		found = append(found, "unknown keys "+strings.Join(foreign, ", "))
	}
	if both := held.Without(held.Without(wanted)); both.Len() > 0 && !both.Equal(wanted.Without(wanted.Without(held))) {
		found = append(found, "a key was altered")
	}
	if k.confirmed == "" {
		return strings.Join(found, "; ")
	}
	if lost := wanted.Without(held); lost.Len() > 0 {
		found = append(found, "missing keys "+strings.Join(lost.IDs(), ", "))
	}
	if paths := k.last.holding.Missing(current.documents); len(found) == 0 && len(paths) > 0 {
		found = append(found, "changed "+strings.Join(paths, ", "))
	}
	return strings.Join(found, "; ")
}

// held joins what all stores hold for good: nothing if one of them is not known,
// or if a writer that decided before this state may yet overwrite it.
func held(keepers []*keeper, rendered string) keys.Set {
	if slices.ContainsFunc(keepers, func(k *keeper) bool { return k.last.err != nil || k.fenced != rendered }) {
		return keys.Set{}
	}
	all := keepers[0].last.holding.Keys
	for _, k := range keepers[1:] {
		all = all.Without(all.Without(k.last.holding.Keys))
	}
	return all
}
