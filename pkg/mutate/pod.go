package mutate

import (
	"bytes"
	"cmp"
	"iter"
	"path"
	"slices"
	"strings"
)

// Pod is what this package has read of a pod: the fields that say what is to
// be added, and where. It refers to the bytes it was read from.
type Pod struct {
	Name         string // empty if the API server is to make one
	GenerateName string
	Namespace    string // empty in an admission request, which names it itself
	// ServiceAccount is the name; "default" where the pod has none.
	ServiceAccount string

	label       string            // value of Label
	annotations map[string]string // those that begin with prefix
	mirror      bool
	hostNetwork bool
	windows     bool

	volumes        []volume // those that may be the token's
	initContainers []container
	containers     []container
	dropped        int // containers after the first maxContainers of each list
	// Whether these lists are there to be added to, if empty.
	hasVolumes, hasInitContainers, hasContainers bool
}

type volume struct {
	name string
	raw  []byte
}

// container is what matters of one; what is seldom needed is read from raw.
type container struct {
	name    string
	env     []string // names that begin with envPrefix
	envFrom []string // prefixes of sources that may have those names
	mounts  []mount  // those at or below azureDirectory
	ports   []int64  // TCP
	raw     []byte

	hasEnv, hasMounts bool
}

type mount struct {
	volume  string
	written string // the path as the pod has it, clean
	// Where it is if /var/run leads to /run, as in most images; clean.
	path   string
	linked bool // it is there only then
	sub    bool // mounts a part of the volume
}

// ParsePod reads a pod from JSON. The error is an [*InputError]. raw must not
// change as long as the Pod is used.
func ParsePod(raw []byte) (Pod, error) {
	var p Pod
	kind, hasSpec := "", false
	s := &scanner{data: raw}
	isObject := s.object(func(name []byte) {
		switch string(name) {
		case "kind":
			kind = s.text()
		case "metadata":
			s.metadata(&p)
		case "spec":
			hasSpec = s.spec(&p)
		default:
			s.skip()
		}
	})
	s.end()
	switch {
	case s.err != nil:
		return Pod{}, s.err
	case !isObject, !hasSpec, kind != "" && kind != "Pod":
		return Pod{}, &InputError{Want: "an object of kind Pod with a spec"}
	}
	p.ServiceAccount = cmp.Or(p.ServiceAccount, "default")
	return p, nil
}

// Labelled reports whether the pod asks for an identity.
func (p Pod) Labelled() bool { return p.label == "true" }

func (s *scanner) metadata(p *Pod) {
	s.object(func(name []byte) {
		switch string(name) {
		case "name":
			p.Name = s.text()
		case "generateName":
			p.GenerateName = s.text()
		case "namespace":
			p.Namespace = s.text()
		case "labels":
			s.object(func(name []byte) {
				if string(name) == Label {
					p.label = s.text()
				} else {
					s.skip()
				}
			})
		case "annotations":
			p.annotations, p.mirror = s.annotations()
		default:
			s.skip()
		}
	})
}

func (s *scanner) annotations() (ours map[string]string, mirror bool) {
	s.object(func(name []byte) {
		switch {
		case bytes.HasPrefix(name, []byte(prefix)):
			if ours == nil {
				ours = map[string]string{}
			}
			ours[string(name)] = s.text()
		case string(name) == annotationMirror:
			mirror = true
			s.skip()
		default:
			s.skip()
		}
	})
	return ours, mirror
}

func (s *scanner) spec(p *Pod) bool {
	alias := "" // Kubernetes' older name of the same field
	exists := s.object(func(name []byte) {
		switch string(name) {
		case "serviceAccountName":
			p.ServiceAccount = s.text()
		case "serviceAccount":
			alias = s.text()
		case "hostNetwork":
			p.hostNetwork = s.boolean()
		case "os":
			s.member("name", func() { p.windows = s.text() == "windows" || p.windows })
		case "nodeSelector":
			s.object(func(name []byte) {
				switch string(name) {
				case "kubernetes.io/os", "beta.kubernetes.io/os": // the older one is on every node still
					p.windows = s.text() == "windows" || p.windows
				default:
					s.skip()
				}
			})
		case "volumes":
			p.volumes = nil
			p.hasVolumes = s.objects(func(int) {
				if v, ok := s.volume(); ok {
					p.volumes = append(p.volumes, v)
				}
			})
		case "initContainers":
			p.initContainers, p.hasInitContainers = s.containers(&p.dropped)
		case "containers":
			p.containers, p.hasContainers = s.containers(&p.dropped)
		default:
			s.skip()
		}
	})
	p.ServiceAccount = cmp.Or(p.ServiceAccount, alias)
	return exists
}

// member reads one member of an object and skips the others.
func (s *scanner) member(want string, read func()) {
	s.object(func(name []byte) {
		if string(name) == want {
			read()
		} else {
			s.skip()
		}
	})
}

// volume reports whether the volume may be the token's. All that is read of a
// pod is small next to its JSON: there may be a million volumes of 3 bytes.
func (s *scanner) volume() (v volume, ok bool) {
	start := s.pos
	s.object(func(name []byte) {
		switch string(name) {
		case "name":
			v.name = s.text()
		case "projected":
			ok = true
			s.skip()
		default:
			s.skip()
		}
	})
	v.raw = s.data[start:s.pos]
	return v, ok || v.name == VolumeName
}

func (s *scanner) containers(dropped *int) (list []container, ok bool) {
	ok = s.objects(func(i int) {
		if c := s.container(); i < maxContainers {
			list = append(list, c)
		} else {
			*dropped++
		}
	})
	return list, ok
}

func (s *scanner) container() container {
	c, start := container{}, s.pos
	s.object(func(name []byte) {
		switch string(name) {
		case "name":
			c.name = s.text()
		case "env":
			c.env, c.hasEnv = s.environment()
		case "envFrom":
			c.envFrom = nil
			s.objects(func(int) {
				from := ""
				s.member("prefix", func() { from = s.text() })
				// The prefixes of AZURE_ are many times the same.
				if strings.HasPrefix(from, envPrefix) || strings.HasPrefix(envPrefix, from) && !slices.Contains(c.envFrom, from) {
					c.envFrom = append(c.envFrom, from)
				}
			})
		case "volumeMounts":
			c.mounts, c.hasMounts = s.mounts()
		case "ports":
			c.ports = s.ports()
		default:
			s.skip()
		}
	})
	c.raw = s.data[start:s.pos]
	return c
}

func (s *scanner) environment() (azure []string, ok bool) {
	ok = s.objects(func(int) {
		s.member("name", func() {
			if name := s.bytes(); bytes.HasPrefix(name, []byte(envPrefix)) {
				azure = append(azure, string(name))
			}
		})
	})
	return azure, ok
}

func (s *scanner) mounts() (azure []mount, ok bool) {
	ok = s.objects(func(int) {
		var m mount
		s.object(func(name []byte) {
			switch string(name) {
			case "name":
				m.volume = s.text()
			case "mountPath":
				m.written = path.Clean(s.text())
				m.path, m.linked = resolve(m.written)
			case "subPath", "subPathExpr":
				m.sub = s.text() != "" || m.sub
			default:
				s.skip()
			}
		})
		if within(m.path, azureDirectory) {
			azure = append(azure, m)
		}
	})
	return azure, ok
}

// resolve returns the clean path below /var/run, where it is, or where a link
// takes it. Container runtimes read a relative path from the root.
func resolve(written string) (clean string, linked bool) {
	clean = path.Join("/", written)
	if within(clean, "/run") {
		return "/var" + clean, true
	}
	return clean, false
}

func (s *scanner) ports() (tcp []int64) {
	s.objects(func(int) {
		var port int64
		protocol := ""
		s.object(func(name []byte) {
			switch string(name) {
			case "containerPort":
				port = s.integer()
			case "protocol":
				protocol = s.text()
			default:
				s.skip()
			}
		})
		if port > 0 && (protocol == "" || protocol == "TCP") {
			tcp = append(tcp, port)
		}
	})
	return tcp
}

func (c container) mountsBelow(directory string) bool {
	return slices.ContainsFunc(c.mounts, func(m mount) bool { return within(m.path, directory) })
}

// within reports whether the clean path name is directory or below it.
func within(name, directory string) bool {
	rest, ok := strings.CutPrefix(name, directory)
	return ok && (rest == "" || rest[0] == '/')
}

func (p Pod) volume(name string) (volume, bool) {
	if i := slices.IndexFunc(p.volumes, func(v volume) bool { return v.name == name }); i >= 0 {
		return p.volumes[i], true
	}
	return volume{}, false
}

// all ranges over init containers and containers. Ephemeral containers are not
// there when a pod is created, and are nobody's to change later.
func (p Pod) all() iter.Seq[container] {
	return func(yield func(container) bool) {
		for _, list := range [][]container{p.initContainers, p.containers} {
			for _, c := range list {
				if !yield(c) {
					return
				}
			}
		}
	}
}

func (p Pod) hasContainer(name string) bool {
	return isAmong(p.initContainers, name) || isAmong(p.containers, name)
}

func isAmong(list []container, name string) bool {
	return slices.ContainsFunc(list, func(c container) bool { return c.name == name })
}
