package publisher_test

import (
	"flag"
	"testing"
)

const fullFlag = "chaos.full"

func TestMain(m *testing.M) {
	flag.Bool(fullFlag, false, "the full count of rounds: 10,000 of each writer")
	m.Run()
}

// scaled returns one of two amounts: that for every test run, or the full one.
func scaled(reduced, full int) int {
	if flag.Lookup(fullFlag).Value.String() == "true" {
		return full
	}
	return reduced
}
