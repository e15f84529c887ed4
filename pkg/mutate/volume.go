package mutate

import (
	"cmp"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// projection is what matters of a volume that may hold the token.
type projection struct {
	audience   string
	expiration int64
	token      bool // a service account token is at tokenFile
	ca         bool // something is at caFile
}

// projection reads the volume's sources.
func (v volume) projection() projection {
	var p projection
	s := &scanner{data: v.raw}
	s.member("projected", func() {
		s.member("sources", func() {
			s.objects(func(int) {
				s.object(func(name []byte) {
					switch string(name) {
					case "serviceAccountToken":
						p.readToken(s)
					case "configMap":
						s.member("items", func() { s.objects(func(int) { p.readCA(s) }) })
					case "clusterTrustBundle":
						p.readCA(s)
					default:
						s.skip()
					}
				})
			})
		})
	})
	return p
}

func (p *projection) readToken(s *scanner) {
	audience, path := "", ""
	var expiration int64 = 3600 // the API server's default
	s.object(func(name []byte) {
		switch string(name) {
		case "audience":
			audience = s.text()
		case "expirationSeconds":
			expiration = s.integer()
		case "path":
			path = s.text()
		default:
			s.skip()
		}
	})
	if path == tokenFile {
		p.token, p.audience, p.expiration = true, audience, expiration
	}
}

func (p *projection) readCA(s *scanner) {
	s.member("path", func() { p.ca = s.text() == caFile || p.ca })
}

// mismatch says why the volume cannot stand for the one this package adds, or
// nothing.
func (w *mutation) mismatch(v volume) string {
	switch p := v.projection(); {
	case !p.token:
		return fmt.Sprintf("it projects no service account token to path %q", tokenFile)
	case p.audience != w.audience:
		return fmt.Sprintf("the token's audience is %s, not %q", quote(p.audience), w.audience)
	case w.wantsCAFile() && !p.ca:
		return fmt.Sprintf("it has no CA at path %q for the custom token endpoint", caFile)
	}
	return ""
}

// findToken looks for a volume that holds the token: the one with its name, or
// one that the user has mounted in its place.
func (w *mutation) findToken() error {
	if v, ok := w.pod.volume(VolumeName); ok {
		if why := w.mismatch(v); why != "" {
			return refuse(ReasonVolume, "volume %q of the pod is taken: %s; rename the volume, or make it a projected service account token with audience %q and path %q",
				VolumeName, why, w.audience, tokenFile)
		}
		w.use(v)
		return nil
	}
	for c := range w.pod.all() {
		for _, m := range c.mounts {
			if m.path != TokenDirectory || m.sub || !w.projectsToken(m.volume) {
				continue
			}
			v, _ := w.pod.volume(m.volume)
			w.use(v)
			return nil
		}
	}
	return nil
}

// use takes the user's volume for the token.
func (w *mutation) use(v volume) {
	w.token = v.name
	if p := v.projection(); p.expiration != w.expiration && w.asksForExpiration() {
		w.warn("volume %s of the pod sets expirationSeconds to %d; annotation %s, %d, has no effect", quote(v.name), p.expiration, AnnotationTokenExpiration, w.expiration)
	}
}

func (w *mutation) asksForExpiration() bool {
	return w.pod.annotations[AnnotationTokenExpiration] != "" || w.identity.Annotations[AnnotationTokenExpiration] != ""
}

// addVolume adds the token's volume, unless the pod has it.
func (w *mutation) addVolume() {
	if w.token != "" {
		return
	}
	sources := []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
		Audience:          w.audience,
		ExpirationSeconds: &w.expiration,
		Path:              tokenFile,
	}}}
	if w.wantsCAFile() {
		sources = append(sources, w.options.TokenEndpoint.projection())
	}
	addLast(&w.patch, "/spec/volumes", w.pod.hasVolumes, corev1.Volume{
		Name:         VolumeName,
		VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: sources}},
	})
}

func (w *mutation) wantsCAFile() bool { return w.endpoint && w.options.TokenEndpoint.hasCAFile() }

// projection is the source of the CA. A pod without it cannot work, so it
// waits for the ConfigMap or bundle to be there: neither is optional.
func (e TokenEndpoint) projection() corev1.VolumeProjection {
	if e.CAConfigMap != "" {
		return corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: e.CAConfigMap},
			Items:                []corev1.KeyToPath{{Key: "ca.crt", Path: caFile}},
		}}
	}
	selector := e.CASelector
	if selector == nil {
		// No selector selects nothing (k8s.io/api/core/v1, ClusterTrustBundleProjection); an empty one, everything.
		selector = &metav1.LabelSelector{}
	}
	return corev1.VolumeProjection{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{
		SignerName:    &e.CASigner,
		LabelSelector: selector,
		Path:          caFile,
	}}
}

// mountsFor returns the mounts of the token that c lacks. Whether it has the
// main one is known already.
func (w *mutation) mountsFor(c container, hasToken bool) []corev1.VolumeMount {
	var missing []corev1.VolumeMount
	mount := func(directory string) {
		missing = append(missing, corev1.VolumeMount{Name: cmp.Or(w.token, VolumeName), MountPath: directory, ReadOnly: true})
	}
	if !hasToken {
		mount(TokenDirectory)
	}
	if w.options.SecondMount && !c.mountsBelow(secondDirectory) {
		// The same volume again: one token, which the kubelet keeps fresh in both places.
		mount(secondTokenDirectory)
		if w.wantsCAFile() {
			mount(secondCADirectory)
		}
	}
	return missing
}

// hasToken reports whether c has the token in its place. Nothing else may be
// there, nor below: the directory is read-only.
func (w *mutation) hasToken(c container) (bool, error) {
	found := false
	for _, m := range c.mounts {
		switch {
		case !within(m.path, TokenDirectory):
		case m.path == TokenDirectory && !m.sub && w.holdsToken(m.volume):
			// One at /run is in the place only where a link leads to it; a second
			// mount of the token does no harm there.
			found = found || !m.linked
		default:
			return false, refuse(ReasonMountPath, "container %s mounts volume %s at %s, where the service account token belongs; mount it elsewhere, or name the container in annotation %s",
				quote(c.name), quote(m.volume), quote(m.written), AnnotationSkipContainers)
		}
	}
	return found, nil
}

func (w *mutation) holdsToken(name string) bool {
	return name == cmp.Or(w.token, VolumeName) || w.projectsToken(name)
}

// projectsToken reports whether the pod has such a volume, and it can stand for
// the one this package adds. All volumes are looked at once, however often it
// is called.
func (w *mutation) projectsToken(name string) bool {
	if w.projecting == nil {
		w.projecting = map[string]bool{}
		for _, v := range w.pod.volumes {
			// Every container gets the name: a bad one must not make the patch long.
			w.projecting[v.name] = isDomainLabel(v.name) && w.mismatch(v) == ""
		}
	}
	return w.projecting[name]
}
