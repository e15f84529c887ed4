// Command barewebhook is the yardstick of the webhook's load test: it answers
// every review with the patch in a file.
package main

import (
	"log"
	"os"

	"github.com/issuer-sync/issuer-sync/test/load"
	"github.com/issuer-sync/issuer-sync/test/load/yardstick"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: barewebhook PATCH CERT KEY")
	}
	patch, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(load.ServeBare(yardstick.Webhook(patch), os.Args[2], os.Args[3]))
}
