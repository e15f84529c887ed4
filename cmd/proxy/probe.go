package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/metadata"
)

const (
	// probeTimeout is less than the 10 seconds that the kubelet gives the startup
	// probe, so that it is this program that says what was wrong.
	probeTimeout = 9 * time.Second
	// A refused connection on loopback costs nothing, and the pod's containers
	// wait for the first success.
	probePause = 5 * time.Millisecond
)

func probeCommand() command {
	return command{
		name:     "probe",
		does:     "wait until the proxy is ready, and exit; for the startup probe",
		settings: []setting{portSetting(), versionSetting()},
		prepare:  prepareProbe,
	}
}

func prepareProbe(o *options, _, _ io.Writer) operation {
	port := o.port("proxy-port")
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		// Not by a proxy of the environment: what answers is to be on this machine.
		transport := &http.Transport{DisableKeepAlives: true}
		url := fmt.Sprintf("http://127.0.0.1:%d%s", port, metadata.ReadyPath)
		if err := probe(ctx, transport, url); err != nil {
			return fmt.Errorf("asking whether the proxy is ready: %w", err)
		}
		return nil
	}
}

// probe asks until somebody answers, or ctx ends. Whatever the answer is, it is
// one: only refused connections are tried again.
func probe(ctx context.Context, transport http.RoundTripper, url string) error {
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	var refused error
	for {
		err := ask(ctx, client, url)
		switch {
		case errors.Is(err, syscall.ECONNREFUSED):
			refused = err
		case refused == nil || ctx.Err() == nil:
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nothing listens there: %w", refused)
		case <-time.After(probePause):
		}
	}
}

func ask(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 200))
		return fmt.Errorf("%s answered %s: %q", url, response.Status, body)
	}
	return nil
}
