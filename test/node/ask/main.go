// Command ask asks for URLs and prints the status of each answer, or why there
// is none; the exit code is then 1. It runs in pods of the node's own test.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"
)

func main() {
	failed := false
	for _, url := range os.Args[1:] {
		status, err := ask(url)
		if err != nil {
			status, failed = err.Error(), true
		}
		fmt.Println(url, status)
	}
	if failed {
		os.Exit(1)
	}
}

func ask(url string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return "", err
	}
	return response.Status, response.Body.Close()
}
