package main

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"

	"k8s.io/apimachinery/pkg/types"

	"github.com/issuer-sync/issuer-sync/internal/cluster"
	"github.com/issuer-sync/issuer-sync/internal/kube"
	"github.com/issuer-sync/issuer-sync/internal/lease"
)

// inCluster reports whether the process runs in a pod, as client-go does.
func inCluster(lookup lookupFunc) bool {
	host, _ := lookup("KUBERNETES_SERVICE_HOST")
	return host != ""
}

// election returns what elects the replica that writes; nil if every one does.
func election(c leaderElectionConfig, lookup lookupFunc, log *slog.Logger, changed func(bool)) (*lease.Elector, error) {
	if c.Enabled != "true" && (c.Enabled != "auto" || !inCluster(lookup)) {
		return nil, nil
	}
	namespace := c.Namespace
	if namespace == "" {
		var err error
		if namespace, err = kube.PodNamespace(lookup); err != nil {
			return nil, fmt.Errorf("leaderElection.namespace is empty, and so is that of this pod: %w; want the namespace of the Lease", err)
		}
	}
	reached, err := cluster.New(cluster.Config{Kubeconfig: c.Kubeconfig, Context: c.Context, Log: log})
	if err != nil {
		return nil, fmt.Errorf("leaderElection: %w", err)
	}
	return lease.New(lease.Config{
		Client: reached.Client(), Name: types.NamespacedName{Namespace: namespace, Name: c.Name},
		Identity: identity(lookup), Log: log, Changed: changed,
	}), nil
}

// identity names this process among the replicas: a restarted one is another.
func identity(lookup lookupFunc) string {
	name, _ := lookup("POD_NAME")
	if name == "" {
		name, _ = os.Hostname() // without one, the random part names it alone
	}
	return name + "_" + rand.Text()[:8]
}

// recorder returns what tells the cluster of events; nil where there is no pod
// that they could be about.
func recorder(lookup lookupFunc, log *slog.Logger) (*cluster.Recorder, error) {
	pod, ok := cluster.OwnPod(lookup)
	if !ok || !inCluster(lookup) {
		return nil, nil
	}
	reached, err := cluster.New(cluster.Config{Log: log})
	if err != nil {
		return nil, fmt.Errorf("recording events: %w", err)
	}
	return cluster.NewRecorder(reached.Client(), pod, log), nil
}
