package load

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"time"
)

// ServeBare serves with net/http and nothing else, over HTTPS or, without a
// certificate file, HTTP, on a port of 127.0.0.1 that it logs as "address=". It
// returns only with an error.
func ServeBare(handler http.Handler, certFile, keyFile string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it lives as long as the process
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	log.Printf("address=%s", listener.Addr())
	server := &http.Server{
		// As in internal/httpserver: they cost a tenth, and no server on a public address goes without.
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       60 * time.Second,
		Handler:           handler,
	}
	if certFile == "" {
		return server.Serve(listener)
	}
	return server.ServeTLS(listener, certFile, keyFile)
}
