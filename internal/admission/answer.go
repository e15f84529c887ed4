package admission

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"unicode/utf8"

	"github.com/issuer-sync/issuer-sync/pkg/mutate"
)

// Results of reviews, for logs and metrics.
const (
	resultAllowed = "allowed"
	resultDenied  = "denied"
	resultError   = "error"
)

// verdict is what is answered, but for patch and warnings.
type verdict struct {
	status         int    // of HTTP
	result, reason string // short, for the labels of a metric
	message        string // to the user if denied, in place of a review if status is not 200
}

// level is Debug for what changes nothing and for requests that are no reviews:
// anybody can send these.
func (v verdict) level() slog.Level {
	switch {
	case v.status >= http.StatusInternalServerError:
		return slog.LevelWarn
	case v.result == resultDenied, v.reason == string(mutate.Mutated):
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

// judge is the one place where errors become answers.
func judge(result mutate.Result, err error) verdict {
	if err == nil {
		return verdict{status: http.StatusOK, result: resultAllowed, reason: string(result.Outcome)}
	}
	if refusal, ok := errors.AsType[*mutate.Refusal](err); ok {
		return verdict{http.StatusOK, resultDenied, string(refusal.Reason), refusal.Message}
	}
	if fault, ok := errors.AsType[*fault](err); ok {
		return verdict{fault.status, resultError, fault.reason, fault.Error()}
	}
	if _, ok := errors.AsType[*mutate.InputError](err); ok {
		return verdict{http.StatusBadRequest, resultError, "malformed", err.Error()}
	}
	if errors.Is(err, ErrNoServiceAccount) {
		return verdict{http.StatusOK, resultDenied, "no_service_account", err.Error() + "; create it before its pods"}
	}
	// Nothing but the lookup is left. The failure policy decides: the pod is not
	// to blame. The cause may tell of the network, and is in the log only.
	return verdict{http.StatusInternalServerError, resultError, "lookup", "the ServiceAccount could not be looked up; the webhook's log says why"}
}

// write sends the answer. That it may not arrive is the caller's to notice.
func (x *exchange) write(w http.ResponseWriter, v verdict, result mutate.Result) {
	if v.status != http.StatusOK {
		if v.status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", http.MethodPost)
		}
		http.Error(w, v.message, v.status)
		return
	}
	x.answer = appendReview(x.answer[:0], x.review.Request.UID, v, result)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(x.answer)))
	_, _ = w.Write(x.answer)
}

// appendReview appends an AdmissionReview with the response. A refusal has the
// status that the API server gives to whatever it forbids itself, and kubectl
// shows as `Error from server (Forbidden): admission webhook ... denied the
// request: ` with the message.
func appendReview(b []byte, uid string, v verdict, result mutate.Result) []byte {
	b = append(b, `{"apiVersion":"`+apiVersion+`","kind":"`+kind+`","response":{"uid":`...)
	b = appendString(b, uid)
	if v.result == resultDenied {
		b = append(b, `,"allowed":false,"status":{"status":"Failure","message":`...)
		b = appendString(b, v.message)
		b = append(b, `,"reason":"Forbidden","code":403}`...)
	} else {
		b = append(b, `,"allowed":true`...)
	}
	if len(result.Patch) > 0 {
		b = append(b, `,"patchType":"JSONPatch","patch":"`...)
		b = base64.StdEncoding.AppendEncode(b, result.Patch)
		b = append(b, '"')
	}
	if len(result.Warnings) > 0 {
		b = append(b, `,"warnings":[`...)
		for i, warning := range result.Warnings {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, cut(warning))
		}
		b = append(b, ']')
	}
	return append(b, "}}"...)
}

// appendString appends a JSON string.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, _ := json.Marshal(s) // no string is an error
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// maxWarning is what the API server shortens warnings to once a request has too
// much of them (k8s.io/apiserver/pkg/endpoints/filters/warning.go), in characters.
const maxWarning = 256

// cut shortens text to maxWarning characters.
func cut(text string) string {
	const end = "..."
	if len(text) <= maxWarning || utf8.RuneCountInString(text) <= maxWarning {
		return text
	}
	return string([]rune(text)[:maxWarning-len(end)]) + end
}
