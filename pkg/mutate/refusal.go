package mutate

import (
	"fmt"
	"strconv"
)

// Reason is why a pod is refused, short enough for the label of a metric. It
// is an error, so that errors.Is(err, mutate.ReasonHostNetwork) works on every
// [Refusal].
type Reason string

// The reasons. Every one can be cured by the user, or by the operator of the
// webhook for ReasonNoProxy.
const (
	ReasonAnnotation  Reason = "bad_annotation"      // a value that is not valid
	ReasonVolume      Reason = "volume_taken"        // VolumeName holds something else
	ReasonMountPath   Reason = "mount_path_taken"    // something else is mounted where the token belongs
	ReasonHostNetwork Reason = "host_network"        // the proxy would serve the whole node
	ReasonWindows     Reason = "windows"             // the proxy has no redirect and no image there
	ReasonPort        Reason = "port_taken"          // a container has the proxy's port
	ReasonContainer   Reason = "container_taken"     // a container has the proxy's name
	ReasonTooLarge    Reason = "too_large"           // more containers than could be stored
	ReasonNoProxy     Reason = "no_proxy_configured" // Options.Proxy.Image is empty
)

// Error implements error.
func (r Reason) Error() string { return string(r) }

// Refusal says why a pod that asked for an identity cannot have it. It is the
// pod's, or its ServiceAccount's, to be changed; nothing is wrong with the
// caller. errors.Is matches its Reason.
type Refusal struct {
	Reason Reason
	// Message is for the user: what was found, its value, and what is valid.
	// Values in it are quoted and cut.
	Message string
}

func refuse(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// Error implements error.
func (r *Refusal) Error() string { return r.Message }

// Unwrap returns the Reason.
func (r *Refusal) Unwrap() error { return r.Reason }

// maxQuoted is how much is shown of a value that someone else wrote: more than
// any valid one, and little enough for a line. An annotation may have 256 KiB.
const maxQuoted = 80

func quote(value string) string {
	if len(value) > maxQuoted {
		return strconv.Quote(value[:maxQuoted]) + "..."
	}
	return strconv.Quote(value)
}
