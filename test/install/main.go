// Command install makes the real parts ready that the project's tests start:
// the Kubernetes servers, built from the Go module test/kube; Azurite and Azure's
// SDK for JavaScript, which npm installs after the lock files in test/azurite and
// test/sdk/js; and Azure's SDK for Python and what runs containers, which are
// unpacked from Debian's packages. All go into a cache outside the tree. A part that is ready is left
// alone.
//
//	go run ./test/install [-print]
//
// What npm installs needs Node.js, and what Debian has needs apt-get; without
// them the tests that use such parts are skipped, and install says so and
// succeeds, except with CI=true.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"

	"github.com/issuer-sync/issuer-sync/test/sdk"
	"github.com/issuer-sync/issuer-sync/test/servers"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("install: ")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("install", flag.ContinueOnError)
	flags.SetOutput(out)
	paths := flags.Bool("print", false, "print the paths of the parts as JSON and install nothing")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q; want none", flags.Arg(0))
	}
	parts, err := servers.FindParts()
	if err != nil {
		return err
	}
	sdks, err := sdk.FindParts()
	if err != nil {
		return err
	}
	if *paths {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(struct {
			servers.Parts
			SDKs sdk.Parts `json:"sdks"`
		}{parts, sdks})
	}
	report := log.New(out, "", 0)
	azurite := npmPart{name: "azurite", source: parts.AzuriteSource, target: parts.Azurite, ready: parts.AzuriteReady}
	node := npmPart{name: "azure-identity for JavaScript", source: sdks.NodeSource, target: sdks.Node, ready: sdks.NodeReady}
	return errors.Join(
		installKube(ctx, parts, report), azurite.install(ctx, report), node.install(ctx, report), installPython(ctx, sdks, report),
		installRuntime(ctx, parts.Runtime, report))
}
