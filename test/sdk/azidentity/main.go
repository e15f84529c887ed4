// Command azidentity asks for an access token as programs with Azure's SDK for
// Go do, and prints it with its end, in seconds since 1970:
//
//	azidentity managed|default|workload RESOURCE [CLIENT_ID]
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) < 2 {
		return errors.New("usage: azidentity managed|default|workload RESOURCE [CLIENT_ID]")
	}
	credential, err := newCredential(args[0], args[2:])
	if err != nil {
		return err
	}
	token, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{args[1] + "/.default"}})
	if err != nil {
		return err
	}
	fmt.Println(token.Token, token.ExpiresOn.Unix())
	return nil
}

// newCredential switches instance discovery off where that can be done: it
// would ask Entra whether the authority is one of its own.
func newCredential(kind string, clientID []string) (azcore.TokenCredential, error) {
	switch kind {
	case "managed":
		options := new(azidentity.ManagedIdentityCredentialOptions)
		if len(clientID) > 0 {
			options.ID = azidentity.ClientID(clientID[0])
		}
		return azidentity.NewManagedIdentityCredential(options)
	case "default":
		// It takes the client ID from nowhere else.
		if len(clientID) > 0 {
			if err := os.Setenv("AZURE_CLIENT_ID", clientID[0]); err != nil {
				return nil, err
			}
		}
		return azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{DisableInstanceDiscovery: true})
	case "workload":
		options := &azidentity.WorkloadIdentityCredentialOptions{DisableInstanceDiscovery: true}
		if len(clientID) > 0 {
			options.ClientID = clientID[0]
		}
		return azidentity.NewWorkloadIdentityCredential(options)
	default:
		return nil, fmt.Errorf("credential %q: want managed, default or workload", kind)
	}
}
