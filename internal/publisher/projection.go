package publisher

import (
	"context"

	"github.com/issuer-sync/issuer-sync/internal/state"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// projection is the documents of one state.
type projection struct {
	documents oidc.Documents
	state     string // rendered
}

// currentProjection is the projection of the state as it is in its store now.
func (p *Publisher) currentProjection(ctx context.Context) (projection, error) {
	remembered, _, err := p.readState(ctx)
	if err != nil {
		return projection{}, err
	}
	return p.project(remembered)
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
