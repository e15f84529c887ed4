package oidc

import "net/http"

// Router is what routes the handler's requests.
func (h *Handler) Router() http.Handler { return h.router }
