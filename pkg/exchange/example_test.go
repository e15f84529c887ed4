package exchange_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/issuer-sync/issuer-sync/pkg/exchange"
)

func Example() {
	file := exchange.TokenFile("/var/run/secrets/azure/tokens/azure-identity-token")
	log := slog.New(slog.DiscardHandler)
	client, err := exchange.New(exchange.Config{Authority: "https://login.microsoftonline.com/", Assertions: file, Log: log})
	if err != nil {
		fmt.Println(err)
		return
	}
	cache := exchange.Cached(client, file, log)
	defer cache.Close()
	_, err = cache.AccessToken(context.Background(), exchange.Request{
		Tenant: "11111111-1111-1111-1111-111111111111",
		Client: "22222222-2222-2222-2222-222222222222",
		Scope:  exchange.Scope("https://vault.azure.net"),
	})
	switch {
	case err == nil:
		fmt.Println(http.StatusOK)
	case errors.Is(err, exchange.Invalid), errors.Is(err, exchange.Rejected):
		fmt.Println(http.StatusBadRequest)
	case errors.Is(err, exchange.Throttled):
		fmt.Println(http.StatusTooManyRequests)
	default:
		fmt.Println(http.StatusServiceUnavailable)
	}
	// Output: 503
}

func ExampleScope() {
	fmt.Println(exchange.Scope("https://management.azure.com/"))
	// Output: https://management.azure.com//.default
}
