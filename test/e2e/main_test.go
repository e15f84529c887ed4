//go:build linux

// Package e2e installs issuer-sync as users do, on a real node, and then lives
// with it: images by tools/images, the chart by helm, pods with real SDKs, a
// rotation, kills, an upgrade, the end.
package e2e_test

import (
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/test/program"
)

func TestMain(m *testing.M) { program.Main(m) }

// patience is for what must come about, however busy the machine is.
const patience = 2 * time.Minute
