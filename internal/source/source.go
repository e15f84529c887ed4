// Package source reads signing keys from where no cluster is needed: from PEM
// files ([Files]) and from the documents of another issuer ([JWKS]).
//
// Each look brings observations: what was seen, or why nothing was. It decides
// nothing and remembers nothing; an origin that fails does not take its keys
// back.
package source
