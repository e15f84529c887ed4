package cluster

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4/json" // refuses duplicate members and compares names exactly
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/issuer-sync/issuer-sync/internal/fetch"
	"github.com/issuer-sync/issuer-sync/internal/kube"
)

const (
	// signingTimeout leaves the addresses and then the servers the time of a
	// request each, as Observe does.
	signingTimeout = 2 * fetch.Timeout
	// signingAudience is in the tokens that are asked for only to see who signed
	// them: nobody accepts it.
	signingAudience = "issuer-sync"
	// signingLifetime is the shortest that the API server gives (Kubernetes
	// pkg/apis/authentication/validation).
	signingLifetime = 10 * time.Minute
	// maxKeyID is in bytes. Kubernetes takes no longer ones from an external
	// signer (pkg/serviceaccount/externaljwt/plugin).
	maxKeyID = 1024
)

// SigningKeys returns the ID of the key that each API server signs tokens with
// at this moment, by the API server's origin in [Cluster.Observe]. It asks each
// for a token, of which it reads the header alone. Where single API servers
// cannot be asked, it asks the configured address.
//
// An API server that does not answer is left out, which the log tells at debug
// level. Without the right to create tokens the answer is nil, and the log says
// so once, with the cure. It takes at most 20 s, mostly milliseconds.
func (c *Cluster) SigningKeys(ctx context.Context) map[string]string {
	ctx, cancel := context.WithTimeout(ctx, signingTimeout)
	defer cancel()
	account, why := c.signingAccount(ctx)
	var found map[string]string
	if account.Name != "" && c.perServer {
		found, why = c.askSigners(ctx, account, c.signers(ctx))
	}
	if account.Name != "" && len(found) == 0 && why.reason == "" {
		found, why = c.askSigners(ctx, account, []signer{{c.origin, c.client}})
	}
	c.sayHindered(ctx, why, len(found) > 0)
	return found
}

// signer is whom to ask for a token.
type signer struct {
	origin string
	client rest.Interface
}

// signers returns the API servers. Observe tells what it lacks.
func (c *Cluster) signers(ctx context.Context) []signer {
	addresses, _ := c.addresses(ctx)
	signers := make([]signer, 0, len(addresses))
	for _, address := range addresses {
		settings := rest.CopyConfig(c.single)
		settings.Host = "https://" + address
		client, err := kube.NewClientOver(c.direct, settings)
		if err != nil {
			c.leaveOut(ctx, c.server(address), err)
			continue
		}
		signers = append(signers, signer{c.server(address), client})
	}
	return signers
}

// askSigners asks them in parallel. It returns nil if nobody told, with the
// hindrance if it is one.
func (c *Cluster) askSigners(ctx context.Context, account types.NamespacedName, signers []signer) (map[string]string, hindrance) {
	ids, errs := make([]string, len(signers)), make([]error, len(signers))
	var all sync.WaitGroup
	for i, s := range signers {
		all.Go(func() { ids[i], errs[i] = signingKey(ctx, s.client, account) })
	}
	all.Wait()
	var found map[string]string
	var why hindrance
	for i, s := range signers {
		if errs[i] != nil {
			c.leaveOut(ctx, s.origin, errs[i])
			if why.reason == "" {
				why = tokenHindrance(account, errs[i])
			}
			continue
		}
		if found == nil {
			found = make(map[string]string, len(signers))
		}
		found[s.origin] = ids[i]
	}
	return found, why
}

func (c *Cluster) leaveOut(ctx context.Context, origin string, err error) {
	c.log.DebugContext(ctx, "left out a signing key", "origin", origin, "err", err)
}

// signingKey asks for a token and returns the ID of the key that signed it. It
// does not use client-go's retries: the next round asks again.
func signingKey(ctx context.Context, client rest.Interface, account types.NamespacedName) (string, error) {
	token, err := requestToken(ctx, client.Post().MaxRetries(0), account, authenticationv1.TokenRequestSpec{
		Audiences: []string{signingAudience}, ExpirationSeconds: new(int64(signingLifetime / time.Second)),
	})
	if err != nil {
		return "", err
	}
	return keyID(token)
}

// keyID returns the "kid" in the protected header of a JWS in compact form (RFC
// 7515 sections 4.1.4 and 7.1). Errors hold nothing of the token.
func keyID(token string) (string, error) {
	segment, _, _ := strings.Cut(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		return "", errors.New("the token has no header in base64url")
	}
	var header struct {
		KeyID string `json:"kid"`
	}
	if json.Unmarshal(raw, &header) != nil {
		return "", errors.New(`the token's header is not a JSON object with one text as "kid"`)
	}
	if length := len(header.KeyID); length == 0 || length > maxKeyID {
		return "", fmt.Errorf(`the token's "kid" has %d bytes; want 1 to %d`, length, maxKeyID)
	}
	return header.KeyID, nil
}

// signingAccount returns whose tokens to ask for: the configured account, or
// the one whose credentials these are. The name is empty if it is not known.
func (c *Cluster) signingAccount(ctx context.Context) (types.NamespacedName, hindrance) {
	if c.signing.Name != "" {
		return c.signing, hindrance{}
	}
	user, err := c.whoami(ctx)
	if err != nil {
		c.leaveOut(ctx, c.origin, err)
		return types.NamespacedName{}, reviewHindrance(err)
	}
	const prefix = "system:serviceaccount:" // Kubernetes apiserver/pkg/authentication/serviceaccount
	name, ok := strings.CutPrefix(user, prefix)
	namespace, name, both := strings.Cut(name, ":")
	if !ok || !both {
		return types.NamespacedName{}, hindrance{
			"the credentials are not those of a service account",
			"set serviceAccount of the cluster source to one whose tokens these credentials may create",
			fmt.Errorf("the user is %q", user),
		}
	}
	return types.NamespacedName{Namespace: namespace, Name: name}, hindrance{}
}

// whoami returns the name of the user whose credentials these are. It asks
// until the API server has said it once.
func (c *Cluster) whoami(ctx context.Context) (string, error) {
	c.mu.Lock()
	user := c.user
	c.mu.Unlock()
	if user != "" {
		return user, nil
	}
	var review authenticationv1.SelfSubjectReview
	err := c.client.Post().AbsPath("/apis/authentication.k8s.io/v1").Resource("selfsubjectreviews").
		Body(&authenticationv1.SelfSubjectReview{}).MaxRetries(0).Do(ctx).Into(&review)
	user = review.Status.UserInfo.Username
	if err == nil && user == "" {
		err = errors.New("the answer names no user")
	}
	if err != nil {
		return "", fmt.Errorf("asking who this is: %w", withoutBody(err))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.user = user
	return user, nil
}

// hindrance says why signing keys stay unknown until somebody changes
// something. The zero hindrance is none; trying again may help.
type hindrance struct {
	reason, cure string
	err          error
}

func tokenHindrance(account types.NamespacedName, err error) hindrance {
	switch {
	case isForbidden(err):
		return hindrance{
			"no right to create tokens of the service account",
			fmt.Sprintf(`allow it with a Role in namespace %q that has the rule `+
				`{apiGroups: [""], resources: [serviceaccounts/token], resourceNames: [%q], verbs: [create]}, `+
				`or set serviceAccount of the cluster source to another`, account.Namespace, account.Name),
			err,
		}
	case apierrors.IsNotFound(err):
		return hindrance{
			"the service account is missing",
			fmt.Sprintf("create service account %q, or set serviceAccount of the cluster source to another", account),
			err,
		}
	default:
		return hindrance{}
	}
}

func reviewHindrance(err error) hindrance {
	const cure = "set serviceAccount of the cluster source to one whose tokens these credentials may create"
	switch {
	case isForbidden(err):
		return hindrance{"no right to ask who this is", cure, err}
	case apierrors.IsNotFound(err): // before Kubernetes 1.28
		return hindrance{"the cluster does not tell who this is", cure, err}
	default:
		return hindrance{}
	}
}

// isForbidden also holds for a refusal by what stands before the API server.
func isForbidden(err error) bool {
	status, ok := errors.AsType[*fetch.StatusError](err)
	return apierrors.IsForbidden(err) || ok && status.Code == http.StatusForbidden
}

// sayHindered logs a hindrance when it begins to hold, and again only after
// signing keys were seen. Failures in between say nothing of it.
func (c *Cluster) sayHindered(ctx context.Context, why hindrance, seen bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case seen:
		c.hindered = ""
	case why.reason != "" && why.reason != c.hindered:
		c.hindered = why.reason
		c.log.InfoContext(ctx, "cannot observe signing keys", "cluster", c.base.Host, "reason", why.reason, "cure", why.cure, "err", why.err)
	}
}
