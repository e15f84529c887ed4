package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Version is that of an API server.
type Version struct{ Major, Minor int }

// String returns it as people write it, such as 1.32.
func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// AtLeast reports whether v is other or newer.
func (v Version) AtLeast(other Version) bool {
	return v.Major > other.Major || v.Major == other.Major && v.Minor >= other.Minor
}

// ServerVersion asks the API server for its version, which anybody may.
func ServerVersion(ctx context.Context, client Client) (Version, error) {
	result := client.Get().AbsPath("/version").MaxRetries(0).Do(ctx)
	raw, err := result.Raw()
	if err != nil {
		err = result.Error() // with the API server's reason, which Raw leaves out
		return Version{}, fmt.Errorf("asking the API server for its version: %w", WithoutBody(err))
	}
	// k8s.io/apimachinery/pkg/version, Info.
	var answer struct{ Major, Minor string }
	if err := json.Unmarshal(raw, &answer); err != nil {
		return Version{}, fmt.Errorf("the API server's version: %w", err)
	}
	major, majorErr := number(answer.Major)
	minor, minorErr := number(answer.Minor)
	if majorErr != nil || minorErr != nil {
		return Version{}, fmt.Errorf("the API server's version has major %q and minor %q; want numbers", answer.Major, answer.Minor)
	}
	return Version{major, minor}, nil
}

// number reads what managed clusters append a plus sign to.
func number(s string) (int, error) { return strconv.Atoi(strings.TrimSuffix(s, "+")) }
