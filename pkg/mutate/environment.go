package mutate

import (
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// variable is one that containers are given. A container keeps its own of the
// same name, whether that has a value, refers to one, or is empty.
type variable struct {
	name, value string
	// unless names another variable: with it set by the container, this one is
	// left out, too.
	unless string
}

// variables lists what every container is given. An empty value is
// none: the SDKs tell the two apart.
func (w *mutation) variables() []variable {
	all := []variable{
		{name: envClientID, value: w.clientID},
		{name: envTenantID, value: w.tenantID},
		{name: envFederatedTokenFile, value: TokenDirectory + "/" + tokenFile},
		{name: envAuthorityHost, value: w.options.Cloud.AuthorityHost},
	}
	if e := w.options.TokenEndpoint; w.endpoint {
		all = append(all,
			variable{name: envTokenProxy, value: e.URL},
			variable{name: envSNIName, value: e.ServerName},
			variable{name: envCAData, value: e.CAData, unless: envCAFile})
		if e.hasCAFile() {
			all = append(all, variable{name: envCAFile, value: TokenDirectory + "/" + caFile, unless: envCAData})
		}
	}
	return slices.DeleteFunc(all, func(v variable) bool { return v.value == "" })
}

// metadataHost points the SDKs that read it to the proxy.
func (w *mutation) metadataHost() variable {
	return variable{name: envMetadataHost, value: "http://127.0.0.1:" + strconv.FormatInt(w.port, 10)}
}

// missing returns those of the variables that a container with the names in
// env lacks.
func missing(variables []variable, env []string) []corev1.EnvVar {
	lacks := make([]corev1.EnvVar, 0, len(variables))
	for _, v := range variables {
		if !slices.Contains(env, v.name) && (v.unless == "" || !slices.Contains(env, v.unless)) {
			lacks = append(lacks, corev1.EnvVar{Name: v.name, Value: v.value})
		}
	}
	return lacks
}

// addToContainers adds variables and mounts to all containers but the skipped
// ones and the proxy's own init container, which needs neither.
func (w *mutation) addToContainers() error {
	base := w.variables()
	// In plain form the proxy starts after the init containers.
	forInit, forMain := base, base
	if w.proxy && w.mode == ProxyEnv {
		forMain = append(slices.Clip(base), w.metadataHost())
		if !w.options.Proxy.PlainSidecar {
			forInit = forMain
		}
	}
	for i, c := range w.pod.initContainers {
		if err := w.addToContainer(c, "/spec/initContainers/"+strconv.Itoa(i), forInit); err != nil {
			return err
		}
	}
	for i, c := range w.pod.containers {
		if err := w.addToContainer(c, "/spec/containers/"+strconv.Itoa(i), forMain); err != nil {
			return err
		}
	}
	return nil
}

func (w *mutation) addToContainer(c container, path string, variables []variable) error {
	switch {
	case c.name == ProxyInitContainer:
		return nil
	case c.name == ProxyContainer && w.proxy:
		variables = w.variables() // the proxy does not ask itself, and is not skipped
	case w.skips(c.name):
		return nil
	}
	mounted, err := w.hasToken(c)
	if err != nil {
		return err
	}
	env := missing(variables, c.env)
	// Before the container's own, so that these may refer to $(AZURE_CLIENT_ID).
	addAt(&w.patch, path+"/env", c.hasEnv, 0, env...)
	addLast(&w.patch, path+"/volumeMounts", c.hasMounts, w.mountsFor(c, mounted)...)
	w.note(c, env)
	return nil
}
