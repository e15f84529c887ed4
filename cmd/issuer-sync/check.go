package main

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/issuer-sync/issuer-sync/internal/settings"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// checker adds the checks of issuer-sync's own values.
type checker struct{ settings.Checker }

func (c *checker) fault(field, format string, args ...any) { c.Fault(field, format, args...) }

func (c *checker) exactlyOne(field string, given map[string]bool) {
	var names, set []string
	for name, ok := range given {
		names = append(names, name)
		if ok {
			set = append(set, name)
		}
	}
	slices.Sort(names)
	slices.Sort(set)
	switch len(set) {
	case 1:
	case 0:
		c.fault(field, "it says nothing; want exactly one of %s (written %s: {} if it has no fields)", strings.Join(names, ", "), names[0])
	default:
		c.fault(field, "it has %s; want exactly one, and another list entry for each other", strings.Join(set, " and "))
	}
}

// issuer reports whether s can be an issuer.
func (c *checker) issuer(field, s string) bool {
	_, err := oidc.ParseIssuer(s)
	if err == nil {
		return true
	}
	if shown, ok := showURL(s); ok || s == "" {
		c.fault(field, "%s", strings.Replace(err.Error(), strconv.Quote(s), strconv.Quote(shown), 1))
	} else {
		c.fault(field, "it is no absolute URL; want one with scheme https")
	}
	return false
}

// url returns the URL, or nil after a mistake. User, password and query are
// not shown: a SAS is a query, and other secrets get there by accident.
func (c *checker) url(field, s string, schemes ...string) *url.URL {
	shown, ok := showURL(s)
	u, err := url.Parse(s)
	if err != nil || !ok {
		c.fault(field, "it is no absolute URL; want one with scheme %s", strings.Join(schemes, " or "))
		return nil
	}
	if !slices.Contains(schemes, u.Scheme) {
		c.fault(field, "%q; want an absolute URL with scheme %s", shown, strings.Join(schemes, " or "))
		return nil
	}
	return u
}

// baseURL is url for addresses that paths are put behind.
func (c *checker) baseURL(field, s string) {
	u := c.url(field, s, "https", "http")
	if u != nil && (u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "") {
		shown, _ := showURL(s)
		c.fault(field, "%q has a user, query or fragment besides; want none of them", shown)
	}
}

// showURL returns scheme, host and path of a URL, and false if s is none: then
// no part of it is known to be no secret.
func showURL(s string) (string, bool) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return "", false
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String(), true
}
