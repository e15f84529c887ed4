package exchange

import (
	"fmt"
	"strconv"
	"strings"
)

// hint is the cause and cure of an AADSTS code in words. Microsoft adds digits
// to a code to say more (700021 3 8, 50166 1), so the longest known beginning
// counts. It is empty for no code.
func hint(code int, sent Assertion) string {
	if code == 0 {
		return ""
	}
	digits := strconv.Itoa(code)
	for known := digits; len(known) >= 5; known = known[:len(known)-1] {
		text := cure(known)
		if text == "" {
			continue
		}
		if strings.HasPrefix(known, "70021") {
			text += fmt.Sprintf("; the token says issuer %q, subject %q, audience %q",
				short(sent.Issuer), short(sent.Subject), strings.Join(sent.Audience, " "))
		}
		return text
	}
	return "Microsoft explains it at https://login.microsoftonline.com/error?code=" + digits
}

// cure knows the codes of this flow. Those without a source are in Microsoft's
// list, "Microsoft Entra authentication and authorization error codes"; the
// others are from reports of users, named here.
func cure(code string) string {
	switch code {
	case "70021", // Azure/azure-workload-identity#977
		"700211", "700212", "700213":
		return "no federated credential of this client ID has exactly the token's issuer, subject and audience" + by(code) +
			"; compare them byte for byte, and wait some minutes if it was just made"
	case "7002138": // Azure/login#517
		return "the federated credential's subject differs from the token's in upper and lower case; make them equal"
	case "700016":
		return "the tenant has no application with this client ID; compare azure.workload.identity/client-id and tenant-id of the ServiceAccount with the identity in Azure"
	case "7000112":
		return "the application is disabled in its tenant"
	case "90002", "900023":
		return "no such tenant; correct azure.workload.identity/tenant-id of the ServiceAccount, or the webhook's default"
	case "700024": // Azure/login#372
		return "the token was not valid at the time of Entra's clock; if its file is fresh, set this node's and the control plane's clocks"
	case "7000272": // Azure/azure-workload-identity#1232
		return "the key that signed the token is not in the issuer's published key set; publish it, see issuer-sync status"
	case "700027":
		return "the token's signature does not verify with the issuer's published key set, or its key is not there; publish the key that signs, see issuer-sync status"
	case "90061", "50166": // Azure/azure-workload-identity#605, #642
		return "Entra could not fetch the issuer's documents, which must be readable by anybody; run issuer-sync verify on the issuer from outside"
	case "900612": // "failed to parse provider signing keys", external-secrets users
		return "Entra could not read the issuer's key set; run issuer-sync verify on the issuer"
	case "5002738": // AzureAD/microsoft-identity-web#3467
		return "Entra does not take the algorithm that the token is signed with; let the cluster sign with an RSA key (RS256)"
	case "50027":
		return "Entra does not take the token for a JWT it can use; look at the token file"
	case "700222": // MicrosoftDocs/azure-docs#90321
		return "Entra takes no tokens of its own here; the token file must hold the cluster's token"
	case "7000218":
		return "the assertion did not arrive; something between here and Entra changes requests"
	case "500011", "70011", "1002012":
		return "the tenant does not know the resource; correct what the application asks for"
	case "53003":
		return "a Conditional Access policy for workload identities blocks this client"
	case "50196":
		return "Entra saw the same request too often and takes it for a loop; wait some minutes"
	default:
		return ""
	}
}

// by names the one of the three that does not match, where the code tells.
func by(code string) string {
	switch code {
	case "700211":
		return " (the issuer differs)"
	case "700212":
		return " (the audience differs)"
	case "700213":
		return " (the subject differs)"
	default:
		return ""
	}
}
