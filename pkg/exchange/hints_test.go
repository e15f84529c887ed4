package exchange_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/issuer-sync/issuer-sync/pkg/exchange"
)

// TestHints has every code that a user of this flow meets, and words of the
// cure that must be in the hint.
func TestHints(t *testing.T) {
	for code, want := range map[int]string{
		0:       "",
		70021:   `exactly the token's issuer, subject and audience; compare them byte for byte, and wait some minutes if it was just made; the token says issuer "https://issuer.example"`,
		700211:  "(the issuer differs)",
		700212:  "(the audience differs)",
		700213:  "(the subject differs)",
		7002121: "(the audience differs)",
		7002137: "(the subject differs)",
		7002138: "upper and lower case",
		700016:  "azure.workload.identity/client-id",
		7000112: "disabled",
		90002:   "azure.workload.identity/tenant-id",
		900023:  "azure.workload.identity/tenant-id",
		700024:  "clocks",
		700027:  "publish the key that signs",
		7000272: "publish it",
		90061:   "issuer-sync verify on the issuer from outside",
		50166:   "issuer-sync verify on the issuer from outside",
		501661:  "issuer-sync verify on the issuer from outside",
		900612:  "could not read the issuer's key set",
		5002738: "RS256",
		5002730: "look at the token file",
		50027:   "look at the token file",
		700222:  "tokens of its own",
		7000218: "changes requests",
		500011:  "what the application asks for",
		1002012: "what the application asks for",
		53003:   "Conditional Access",
		50196:   "wait some minutes",
		424242:  "https://login.microsoftonline.com/error?code=424242",
		// Of other families, though it begins alike.
		700030: "https://login.microsoftonline.com/error?code=700030",
	} {
		c := newClient(t, tokenFile(t), func(*http.Request) (reply, error) {
			return answer(400, fmt.Sprintf(`{"error":"invalid_request","error_codes":[%d]}`, code)), nil
		})
		_, err := c.AccessToken(t.Context(), wanted())
		e := theError(t, err, exchange.Rejected)
		if e.AADSTS != code || !strings.Contains(e.Hint, want) || (want == "") != (e.Hint == "") {
			t.Errorf("%d: got code %d, hint %q; want one with %q", code, e.AADSTS, e.Hint, want)
		}
	}
}
