//go:build linux

package e2e_test

import (
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/test/program"
)

func TestMain(m *testing.M) { program.Main(m) }

// patience is for what must come about, however busy the machine is.
const patience = 2 * time.Minute
