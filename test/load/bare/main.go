// Command bare is the yardstick of the load test: net/http and nothing else,
// giving the answer that issuer-sync gives, byte for byte, to whoever asks.
package main

import (
	"log"
	"net/http"
	"os"

	"github.com/issuer-sync/issuer-sync/test/load"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: bare FILE CERT KEY")
	}
	body, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(load.ServeBare(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		header := w.Header()
		header.Set("Content-Type", "application/jwk-set+json")
		header.Set("Cache-Control", "public, max-age=300")
		header.Set("Etag", `"0123456789012345678901234567890123456789012"`)
		header.Set("Access-Control-Allow-Origin", "*")
		w.Write(body) //nolint:errcheck // the client is gone
	}), os.Args[2], os.Args[3]))
}
