package oidc

import (
	"fmt"
	"strings"
	"unicode"
)

// verdict is a check without its name.
type verdict struct {
	status       Status
	detail, cure string
	publicHost   bool
}

func passed(format string, args ...any) verdict {
	return verdict{status: Pass, detail: fmt.Sprintf(format, args...)}
}

func warned(cure, format string, args ...any) verdict {
	return verdict{status: Warn, detail: fmt.Sprintf(format, args...), cure: cure}
}

func failed(cure, format string, args ...any) verdict {
	return verdict{status: Fail, detail: fmt.Sprintf(format, args...), cure: cure}
}

func skipped(cure, format string, args ...any) verdict {
	return verdict{status: Skip, detail: fmt.Sprintf(format, args...), cure: cure}
}

// sequence appends checks to a report that build on one another: once a gate
// has failed, what follows is skipped without being judged.
type sequence struct {
	report *Report
	prefix string
	needs  string // the gate that failed; empty while none has
}

// check judges one property on which nothing else in the sequence depends.
func (s *sequence) check(property string, judge func() verdict) Status {
	return s.checkEach(property, "", judge)
}

// checkEach is check for one of several subjects.
func (s *sequence) checkEach(property, subject string, judge func() verdict) Status {
	v := skipped("", "needs %q to pass", s.needs)
	if s.needs == "" {
		v = judge()
	}
	s.report.Checks = append(s.report.Checks, Check{
		Name:       s.prefix + ": " + property,
		Status:     v.status,
		Subject:    oneLine(subject),
		Detail:     oneLine(v.detail),
		Cure:       v.cure,
		PublicHost: v.publicHost,
	})
	return v.status
}

// gate judges a property that everything after it in the sequence needs.
func (s *sequence) gate(property string, judge func() verdict) {
	if s.check(property, judge) == Fail {
		s.block(property)
	}
}

// block has everything that follows skipped for want of a property.
func (s *sequence) block(property string) {
	if s.needs == "" {
		s.needs = s.prefix + ": " + property
	}
}

// maxDetail bounds what a stranger's document can make a report say, in bytes.
const maxDetail = 1000

// oneLine keeps text from outside from breaking lines or driving a terminal:
// errors of the standard library may hold it unquoted.
func oneLine(s string) string {
	if len(s) > maxDetail {
		s = s[:maxDetail] + "..."
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// several shows the first few of a list of untrusted values.
func several(values []string) string {
	const shown = 5
	var b strings.Builder
	for i, value := range values {
		if i == shown {
			fmt.Fprintf(&b, " and %d more", len(values)-shown)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", value)
	}
	return b.String()
}
