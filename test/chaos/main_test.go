// Package chaos_test kills issuer-sync and breaks its store while readers
// watch what is public. It uses the program as a user does: a configuration
// file, key files, signals.
//
// `go test` does it some dozens of times. With -args -chaos.full it does it as
// often, and for as long, as the project promises.
package chaos_test

import (
	"flag"
	"testing"

	"github.com/issuer-sync/issuer-sync/test/program"
)

const fullFlag = "chaos.full"

func TestMain(m *testing.M) {
	flag.Bool(fullFlag, false, "the full counts: 1,000 and 100 kills, faults of minutes")
	program.Main(m)
}

// scaled returns one of two amounts: that for every test run, or the full one.
func scaled[T any](reduced, full T) T {
	if flag.Lookup(fullFlag).Value.String() == "true" {
		return full
	}
	return reduced
}
