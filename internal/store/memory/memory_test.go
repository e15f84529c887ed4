package memory_test

import (
	"testing"

	"github.com/issuer-sync/issuer-sync/internal/store/memory"
	"github.com/issuer-sync/issuer-sync/internal/store/storetest"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Open {
		shared := memory.New()
		return func(*testing.T, storetest.Wrap) oidc.Store { return shared }
	})
}
