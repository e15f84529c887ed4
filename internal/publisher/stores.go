package publisher

import "context"

// publish brings the stores to what was decided. It reports whether it is worth
// while to decide again.
func (p *Publisher) publish(ctx context.Context, d decided, pace pace, round *Round) (again bool) {
	for i, k := range p.keepers {
		k.follow(d)
		if k.last.err != nil {
			continue
		}
		if !k.republish && len(k.last.holding.Missing(d.projection.documents)) == 0 {
			k.confirmed = d.projection.state
			k.backoff.note(nil, k.interval)
			continue
		}
		round.Stores[i].compare(k.last.holding.Keys, d.projection.documents.Keys)
		k.sync(ctx, p.currentProjection, pace.late)
	}
	waiting, cancel := context.WithTimeout(ctx, pace.patience)
	defer cancel()
	return p.await(waiting.Done(), round)
}

// wouldWrite fills in what a round would do to the stores.
func (p *Publisher) wouldWrite(d decided, round *Round) {
	for i, k := range p.keepers {
		if k.last.err != nil {
			continue
		}
		round.Stores[i].WouldWrite = k.last.holding.Missing(d.projection.documents)
		round.Stores[i].compare(k.last.holding.Keys, d.projection.documents.Keys)
	}
}

// await awaits what was begun at the stores. It reports whether anything was
// written.
func (p *Publisher) await(patience <-chan struct{}, round *Round) (wrote bool) {
	for i, k := range p.keepers {
		round.Stores[i].Store = k.Name
		written := k.await(patience)
		round.Stores[i].Written = append(round.Stores[i].Written, written...)
		wrote = wrote || len(written) > 0
	}
	return wrote
}

// storeFaults notes what is wrong with the stores in the end.
func (p *Publisher) storeFaults(round *Round) {
	for i, k := range p.keepers {
		round.Stores[i].fault(k.fault())
	}
}
