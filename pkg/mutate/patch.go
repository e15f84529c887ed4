package mutate

import (
	"encoding/json"
	"strconv"
)

// patch is a JSON patch (RFC 6902) that only adds.
type patch []operation

type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

func (p *patch) add(path string, value any) {
	*p = append(*p, operation{"add", path, value})
}

// addAt puts values before the element at index of the list at path. If there
// is no list yet, they become it.
func addAt[T any](p *patch, path string, exists bool, index int, values ...T) {
	if len(values) > 0 && !exists {
		p.add(path, values)
		return
	}
	for i := range values {
		p.add(path+"/"+strconv.Itoa(index+i), &values[i])
	}
}

// addLast puts values behind the list at path. If there is no list yet, they
// become it.
func addLast[T any](p *patch, path string, exists bool, values ...T) {
	if len(values) > 0 && !exists {
		p.add(path, values)
		return
	}
	for i := range values {
		p.add(path+"/-", &values[i])
	}
}

func (p *patch) json() []byte {
	// Kubernetes' types marshal whatever they hold.
	data, err := json.Marshal(p)
	if err != nil {
		panic("internal error: marshalling a patch: " + err.Error())
	}
	return data
}
