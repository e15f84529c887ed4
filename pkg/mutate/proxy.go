package mutate

import (
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// checkProxy refuses a proxy that would not work, or would serve others.
func (w *mutation) checkProxy() error {
	if !w.proxy {
		return nil
	}
	switch {
	case w.pod.hostNetwork:
		// The text begins as azure-workload-identity's does.
		return refuse(ReasonHostNetwork, "hostNetwork is set to true, cannot inject proxy sidecar: it would answer for every pod on the node's network; remove hostNetwork or annotation %s", AnnotationInjectProxy)
	case w.pod.windows:
		return refuse(ReasonWindows, "the pod is for Windows, cannot inject proxy sidecar: it runs on Linux only; use an SDK with workload identity, and remove annotation %s", AnnotationInjectProxy)
	case w.options.Proxy.Image == "":
		return refuse(ReasonNoProxy, "cannot inject proxy sidecar: the webhook has no proxy image; have its operator set one, or remove annotation %s", AnnotationInjectProxy)
	}
	if err := w.checkPlaces(); err != nil {
		return err
	}
	for c := range w.pod.all() {
		if err := w.checkBeside(c); err != nil {
			return err
		}
	}
	return nil
}

// checkPlaces refuses a container with a name of ours where it cannot do what
// ours does.
func (w *mutation) checkPlaces() error {
	if isAmong(w.pod.containers, ProxyInitContainer) {
		return refuse(ReasonContainer, "container %q of the pod has the name of the proxy's init container, and is none; rename or remove it", ProxyInitContainer)
	}
	for _, c := range w.pod.initContainers {
		if c.name == ProxyContainer && c.restartPolicy() != string(corev1.ContainerRestartPolicyAlways) {
			return refuse(ReasonContainer, "init container %q of the pod has restartPolicy %s, not %q: the pod would wait for its end; rename or remove it",
				ProxyContainer, quote(c.restartPolicy()), corev1.ContainerRestartPolicyAlways)
		}
	}
	return nil
}

// checkBeside refuses a container that the proxy cannot run beside. One with a
// name of ours was added before, by this webhook or by hand: it has to use the
// same port.
func (w *mutation) checkBeside(c container) error {
	switch c.name {
	case ProxyContainer:
		if flag := w.portFlag(); !slices.Contains(c.commandLine(), flag) {
			return refuse(ReasonContainer, "container %q of the pod is not the proxy this webhook would add: %q is not among its arguments; rename or remove it", c.name, flag)
		}
	case ProxyInitContainer:
		if port := strconv.FormatInt(w.port, 10); w.mode == ProxyRedirect && c.proxyPort() != port {
			return refuse(ReasonContainer, "init container %q of the pod is not the one this webhook would add: its variable %s is %s, not %q; rename or remove it", c.name, envProxyPort, quote(c.proxyPort()), port)
		}
	default:
		if slices.Contains(c.ports, w.port) {
			return refuse(ReasonPort, "container %s has port %d, on which the proxy is to listen; set annotation %s to another port", quote(c.name), w.port, AnnotationProxyPort)
		}
	}
	return nil
}

// commandLine reads command and args of the container.
func (c container) commandLine() (words []string) {
	s := &scanner{data: c.raw}
	s.object(func(name []byte) {
		switch string(name) {
		case "command", "args":
			s.array(func(int) { words = append(words, s.text()) })
		default:
			s.skip()
		}
	})
	return words
}

func (c container) restartPolicy() (policy string) {
	s := &scanner{data: c.raw}
	s.member("restartPolicy", func() { policy = s.text() })
	return policy
}

// proxyPort reads the variable PROXY_PORT of the container.
func (c container) proxyPort() (port string) {
	s := &scanner{data: c.raw}
	s.member("env", func() {
		s.objects(func(int) {
			variable, value := "", ""
			s.object(func(name []byte) {
				switch string(name) {
				case "name":
					variable = s.text()
				case "value":
					value = s.text()
				default:
					s.skip()
				}
			})
			if variable == envProxyPort {
				port = value
			}
		})
	})
	return port
}

func (w *mutation) portFlag() string { return fmt.Sprintf("%s=%d", proxyPortFlag, w.port) }

// addProxy adds the proxy's containers, unless the pod has them.
func (w *mutation) addProxy() {
	if !w.proxy {
		return
	}
	var redirect, sidecar []corev1.Container
	if w.mode == ProxyRedirect && !isAmong(w.pod.initContainers, ProxyInitContainer) {
		redirect = append(redirect, w.redirect())
	}
	if !w.pod.hasContainer(ProxyContainer) {
		sidecar = append(sidecar, w.sidecar())
	}
	if w.options.Proxy.PlainSidecar {
		// Behind the user's init containers: they run before the proxy does, and
		// a redirect would lead them nowhere.
		addLast(&w.patch, "/spec/initContainers", w.pod.hasInitContainers, redirect...)
		addAt(&w.patch, "/spec/containers", w.pod.hasContainers, 0, sidecar...)
		return
	}
	// Ahead of the user's init containers, so that these have tokens, too; the
	// sidecar behind the redirect, even if somebody has put that elsewhere.
	at := 1 + slices.IndexFunc(w.pod.initContainers, func(c container) bool { return c.name == ProxyInitContainer })
	addAt(&w.patch, "/spec/initContainers", w.pod.hasInitContainers, at, append(redirect, sidecar...)...)
}

// redirect is the init container that sends requests for the metadata endpoint
// to the proxy.
func (w *mutation) redirect() corev1.Container {
	return corev1.Container{
		Name:            ProxyInitContainer,
		Image:           w.options.Proxy.InitImage,
		ImagePullPolicy: corev1.PullIfNotPresent,
		Command:         []string{proxyBinary, "init"},
		Env: []corev1.EnvVar{
			{Name: envProxyPort, Value: strconv.FormatInt(w.port, 10)},
			{Name: envProxyUID, Value: strconv.Itoa(ProxyUID)},
		},
		Resources: w.resources,
		// `kubectl describe` then shows what the node lacks.
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		SecurityContext:          redirectSecurity(),
	}
}

// sidecar is the proxy.
func (w *mutation) sidecar() corev1.Container {
	// What it listens on is its own loopback: there is no port to declare.
	c := corev1.Container{
		Name:            ProxyContainer,
		Image:           w.options.Proxy.Image,
		ImagePullPolicy: corev1.PullIfNotPresent,
		Command:         []string{proxyBinary},
		Args:            []string{w.portFlag(), "--log-level=" + w.options.Proxy.LogLevel},
		Env:             missing(w.variables(), nil),
		VolumeMounts:    w.mountsFor(container{}, false),
		Resources:       w.resources,

		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		SecurityContext:          sidecarSecurity(),
	}
	probe := &corev1.ExecAction{Command: []string{proxyBinary, "probe", w.portFlag()}}
	if w.options.Proxy.PlainSidecar {
		// The kubelet starts containers in their order, and waits for this.
		c.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: probe}}
		return c
	}
	c.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
	// The kubelet starts the next container after the first success. The probe
	// waits for the proxy itself, so the first one should be it.
	c.StartupProbe = &corev1.Probe{
		ProbeHandler:     corev1.ProbeHandler{Exec: probe},
		PeriodSeconds:    1,
		TimeoutSeconds:   10,
		FailureThreshold: 30,
	}
	return c
}

// sidecarSecurity fits PodSecurity's "restricted". The user is set here because
// the pod may set another one for all its containers, which the redirect would
// not exempt.
func sidecarSecurity() *corev1.SecurityContext {
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(false),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		Privileged:               new(false),
		ReadOnlyRootFilesystem:   new(true),
		RunAsNonRoot:             new(true),
		RunAsUser:                new(int64(ProxyUID)),
		RunAsGroup:               new(int64(ProxyUID)),
		SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

// redirectSecurity differs in the two things without which the kernel lets
// nobody write a redirect: uid 0 and NET_ADMIN. runAsNonRoot is set because the
// pod may set it for all its containers, and the kubelet would refuse this one.
func redirectSecurity() *corev1.SecurityContext {
	security := sidecarSecurity()
	security.Capabilities.Add = []corev1.Capability{"NET_ADMIN"}
	security.RunAsNonRoot = new(false)
	security.RunAsUser = new(int64(0))
	security.RunAsGroup = new(int64(0))
	return security
}
