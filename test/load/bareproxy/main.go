// Command bareproxy is the yardstick of the proxy's load test: net/http and
// nothing else, giving the answer that the proxy gives, byte for byte, to
// whoever asks.
package main

import (
	"log"
	"net/http"
	"os"
	"strconv"

	"github.com/issuer-sync/issuer-sync/test/load"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: bareproxy FILE")
	}
	body, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(load.ServeBare(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		header := w.Header()
		header.Set("Content-Type", "application/json")
		header.Set("Cache-Control", "no-store")
		header.Set("Content-Length", strconv.Itoa(len(body)))
		w.Write(body) //nolint:errcheck // the client is gone
	}), "", ""))
}
