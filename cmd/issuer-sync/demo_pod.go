package main

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/issuer-sync/issuer-sync/internal/entra"
	"github.com/issuer-sync/issuer-sync/internal/httpserver"
	"github.com/issuer-sync/issuer-sync/internal/metadata"
	"github.com/issuer-sync/issuer-sync/pkg/exchange"
)

// The identity of the demo.
const (
	demoSubject = "system:serviceaccount:default:demo"
	demoTenant  = "72f988bf-0000-0000-0000-00000000de30"
	demoClient  = "c11e0000-0000-0000-0000-00000000de30"
)

// demoPod is a pod with the proxy beside it, and Entra.
type demoPod struct {
	demo      *demo
	tokenFile string
	entra     *entra.Server
	entraCA   string // a file
	endpoint  string // URL of the proxy
	client    *http.Client

	mu  sync.Mutex    // guards key, and the token file while it is replaced
	key crypto.Signer // the cluster's, which signed the token
}

// startPod starts Entra's stand-in, gives it the federated credential that an
// operator would enter, and starts the proxy.
func (d *demo) startPod(ctx context.Context, running *errgroup.Group, key crypto.Signer) (*demoPod, error) {
	p := &demoPod{
		demo: d, tokenFile: filepath.Join(d.directory, "azure-identity-token"), entraCA: filepath.Join(d.directory, "entra.crt"),
		client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, // or the server would wait for idle connections
	}
	var err error
	p.entra, err = entra.Listen(ctx, entra.ListenConfig{Address: "127.0.0.1:0"}, entra.Config{
		Apps: []entra.App{{Tenant: demoTenant, Client: demoClient, Credentials: []entra.Credential{
			{Issuer: d.issuer.String(), Subject: demoSubject, Audience: azureAudience},
		}}},
		Roots: d.authority.Roots(), Log: d.log,
	})
	if err != nil {
		return nil, err
	}
	running.Go(func() error { return p.entra.Run(ctx) })
	if err := os.WriteFile(p.entraCA, p.entra.CA(), 0o600); err != nil {
		return nil, fmt.Errorf("writing the CA of the demo's Entra: %w", err)
	}
	d.say("started a stand-in for Entra, with a federated credential for %s", demoSubject)
	if err := p.project(key); err != nil {
		return nil, err
	}
	running.Go(func() error { return p.kubelet(ctx) })
	d.say("signed the pod's token, as kube-apiserver does: audience %s", azureAudience)
	return p, p.startProxy(ctx, running)
}

// startProxy starts what cmd/proxy serves.
func (p *demoPod) startProxy(ctx context.Context, running *errgroup.Group) error {
	assertions := exchange.TokenFile(p.tokenFile)
	client, err := exchange.New(exchange.Config{
		Authority: p.entra.URL(), Endpoint: exchange.Endpoint{URL: p.entra.URL(), CAData: string(p.entra.CA())},
		Assertions: assertions, Log: p.demo.log,
	})
	if err != nil {
		return err
	}
	tokens := exchange.Cached(client, assertions, p.demo.log)
	handler, err := metadata.New(metadata.Config{Source: tokens, TenantID: demoTenant, ClientID: demoClient, Log: p.demo.log})
	if err != nil {
		return err
	}
	server, err := httpserver.Listen(ctx, httpserver.Config{Name: "proxy", Address: "127.0.0.1:0", Handler: handler, Log: p.demo.log})
	if err != nil {
		return err
	}
	running.Go(func() error {
		defer tokens.Close()
		return server.Run(ctx)
	})
	p.endpoint = "http://" + server.Address()
	return nil
}

// project replaces the pod's token, as kubelet does: in one step.
func (p *demoPod) project(key crypto.Signer) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.key = key
	return p.renew()
}

// renew has the key sign another token. The caller holds p.mu.
func (p *demoPod) renew() error {
	token, err := demoToken(p.demo.issuer, p.key)
	if err != nil {
		return err
	}
	next := p.tokenFile + ".next"
	if err := os.WriteFile(next, []byte(token), 0o600); err != nil {
		return fmt.Errorf("writing the pod's token: %w", err)
	}
	if err := os.Rename(next, p.tokenFile); err != nil {
		return fmt.Errorf("replacing the pod's token: %w", err)
	}
	return nil
}

// demoAnswer is what the demo reads of the proxy's answer.
type demoAnswer struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   string `json:"expires_in"`
	Resource    string `json:"resource"`
	ClientID    string `json:"client_id"`
	Description string `json:"error_description"`
}

// ask does what SDKs do that know only the metadata endpoint.
func (p *demoPod) ask(ctx context.Context, resource string) (demoAnswer, error) {
	address := p.endpoint + metadata.TokenPath + "?api-version=2018-02-01&resource=" + url.QueryEscape(resource)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return demoAnswer{}, err
	}
	request.Header.Set("Metadata", "true")
	response, err := p.client.Do(request)
	if err != nil {
		return demoAnswer{}, fmt.Errorf("asking the proxy for a token: %w", err)
	}
	defer response.Body.Close()
	var answer demoAnswer
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return demoAnswer{}, fmt.Errorf("reading the proxy's answer: %w", err)
	}
	if response.StatusCode != http.StatusOK || answer.AccessToken == "" {
		return demoAnswer{}, fmt.Errorf("asking the proxy for a token: %s: %s", response.Status, answer.Description)
	}
	return answer, nil
}

// demoLoad is a loop of exchanges: each asks for another resource, which no
// cache has.
type demoLoad struct {
	exchanges int // read it after stop
	done      chan struct{}
	progress  chan struct{}
	end       context.CancelFunc
	err       error
}

func (p *demoPod) load(ctx context.Context) *demoLoad {
	ctx, end := context.WithCancel(ctx)
	l := &demoLoad{done: make(chan struct{}), progress: make(chan struct{}), end: end}
	go func() {
		defer close(l.done)
		for ctx.Err() == nil {
			if _, err := p.ask(ctx, fmt.Sprintf("https://%d.example.com", l.exchanges)); err != nil {
				if ctx.Err() == nil {
					l.err = err
				}
				return
			}
			l.exchanges++
			select {
			case l.progress <- struct{}{}:
			default:
			}
		}
	}()
	return l
}

// more waits for some exchanges that begin after it was called.
func (l *demoLoad) more(ctx context.Context) error {
	for range 10 { // the first may have begun before
		select {
		case <-l.progress:
		case <-l.done:
			return nil // stop tells why
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// stop ends the loop, and joins its error to err.
func (l *demoLoad) stop(err error) error {
	l.end()
	<-l.done
	return errors.Join(err, l.err)
}

// kubelet replaces the token at four fifths of its life.
func (p *demoPod) kubelet(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(demoTokenLifetime * 4 / 5):
			p.mu.Lock()
			err := p.renew()
			p.mu.Unlock()
			if err != nil {
				return err
			}
		}
	}
}
