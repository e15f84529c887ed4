package publisher

import (
	"errors"
	"fmt"

	"github.com/issuer-sync/issuer-sync/internal/state"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

// The alarms of a publisher, beside those of keys.Decide.
const (
	AlarmAdopted       keys.AlarmKind = "state-adopted"
	AlarmForeignEdit   keys.AlarmKind = "foreign-edit"
	AlarmIssuerDrift   keys.AlarmKind = "issuer-drift"
	AlarmOwnCredential keys.AlarmKind = "own-credential"
)

// findings are what is wrong or worth a word beside the decision.
type findings struct {
	alarms, events []keys.Alarm // those that hold now; those that are over once the round is
	warnings       []string
	// repaired says by store what somebody else had done to it.
	repaired map[string]string
	// forgotten says that keys may be lost, because neither state nor documents could be read.
	forgotten error
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

// driftText says that a cluster signs with an issuer that is not configured.
func driftText(actual, configured string) string {
	return fmt.Sprintf("the cluster signs tokens as issuer %q, not %q: relying parties will refuse them until kube-apiserver runs with --service-account-issuer=%s as its first issuer", actual, configured, configured)
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
