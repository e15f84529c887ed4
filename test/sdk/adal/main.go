// Command adal asks for an access token as programs with go-autorest do, and
// prints it with its end, in seconds since 1970:
//
//	adal RESOURCE [CLIENT_ID]
//	adal -callers N [-load] RESOURCE [CLIENT_ID]
//
// With -callers that many ask at once, each with a credential of its own, and
// what is printed is how many answers and errors there were, and the last
// error. With -load each asks again and again until standard input ends.
//
// It is built with three versions of the module, one after another: go.mod, and
// the other files *.mod.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"sync"

	"github.com/Azure/go-autorest/autorest/adal"
)

func main() {
	callers := flag.Int("callers", 0, "how many ask at once")
	load := flag.Bool("load", false, "ask again and again until standard input ends")
	flag.Parse()
	token, err := newToken(flag.Args())
	switch {
	case err != nil:
	case *callers > 0:
		err = crowd(*callers, *load, flag.Args())
	default:
		if err = token.Refresh(); err == nil {
			fmt.Println(token.OAuthToken(), token.Token().Expires().Unix())
		}
	}
	if err != nil {
		log.Fatal(err)
	}
}

// newToken makes the credential in the way that all versions know.
func newToken(args []string) (*adal.ServicePrincipalToken, error) {
	if len(args) == 0 {
		return nil, fmt.Errorf("usage: adal [-callers N [-load]] RESOURCE [CLIENT_ID]")
	}
	endpoint, err := adal.GetMSIVMEndpoint()
	if err != nil {
		return nil, err
	}
	if len(args) == 1 {
		return adal.NewServicePrincipalTokenFromMSI(endpoint, args[0])
	}
	return adal.NewServicePrincipalTokenFromMSIWithUserAssignedID(endpoint, args[0], args[1])
}

// crowd has the callers begin together. Refresh always asks, whatever the
// credential holds, and here asks once.
func crowd(callers int, load bool, args []string) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	if load {
		go func() {
			io.Copy(io.Discard, os.Stdin) // its end is the sign, and so is an error
			stop()
		}()
	} else {
		stop()
	}
	var (
		running sync.WaitGroup
		mu      sync.Mutex // guards what follows
		good    int
		bad     int
		last    error
	)
	start := make(chan struct{})
	for range callers {
		token, err := newToken(args)
		if err != nil {
			return err
		}
		token.MaxMSIRefreshAttempts = 1
		running.Go(func() {
			<-start
			for again := true; again; again = ctx.Err() == nil {
				err := token.Refresh()
				mu.Lock()
				if err == nil {
					good++
				} else {
					bad, last = bad+1, err
				}
				mu.Unlock()
			}
		})
	}
	close(start)
	running.Wait()
	fmt.Println(good, bad, last)
	return nil
}
