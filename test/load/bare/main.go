// Command bare is the yardstick of the load test: net/http and nothing else,
// giving the answer that issuer-sync gives, byte for byte, to whoever asks.
package main

import (
	"log"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: bare FILE CERT KEY")
	}
	body, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it lives as long as the process
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("address=%s", listener.Addr())
	server := &http.Server{
		// As in internal/httpserver: they cost a tenth, and no server on a public address goes without.
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       60 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			header := w.Header()
			header.Set("Content-Type", "application/jwk-set+json")
			header.Set("Cache-Control", "public, max-age=300")
			header.Set("Etag", `"0123456789012345678901234567890123456789012"`)
			header.Set("Access-Control-Allow-Origin", "*")
			w.Write(body) //nolint:errcheck // the client is gone
		}),
	}
	log.Fatal(server.ServeTLS(listener, os.Args[2], os.Args[3]))
}
