package source_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/internal/source"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
)

const (
	// limit is what users are promised: a changed file is published within 5 s.
	limit = 5 * time.Second
	// unpolled is less than it takes the poll to find a change made right after the watch began.
	unpolled = 1800 * time.Millisecond
)

// watch runs a watch until the test ends. It returns when that has begun.
func watch(t *testing.T, run func(context.Context, func()) error) (changes <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	called := make(chan struct{}, 100)
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, func() { called <- struct{}{} }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("watch ended with %v", err)
		}
	})
	select {
	case <-called:
	case <-time.After(limit):
		t.Fatal("no first call")
	}
	return called
}

// awaitKeys waits until a change is told after which exactly the given keys
// are observed, and returns how long it took.
func awaitKeys(t *testing.T, files *source.Files, changes <-chan struct{}, numbers ...int) time.Duration {
	t.Helper()
	start := time.Now()
	var want []string
	for _, n := range numbers {
		want = append(want, keytest.Key(t, n).ID)
	}
	slices.Sort(want)
	timeout := time.After(limit)
	for {
		select {
		case <-changes:
			if slices.Equal(observedIDs(t, files), want) {
				return time.Since(start)
			}
		case <-timeout:
			t.Fatalf("not told within %v; there is %q, want %q", limit, observedIDs(t, files), want)
		}
	}
}

func observedIDs(t *testing.T, files *source.Files) []string {
	t.Helper()
	var sets []keys.Set
	for _, observation := range files.Observe(t.Context()) {
		sets = append(sets, observation.Keys)
	}
	union, err := keys.Union(sets...)
	if err != nil {
		t.Fatal(err)
	}
	if union.Len() == 0 {
		return nil
	}
	return union.IDs()
}

// replace puts data in the place of path's file, all at once.
func replace(t *testing.T, path string, data []byte) {
	t.Helper()
	writeFile(t, path+".new", data)
	rename(t, path+".new", path)
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// mount makes a volume as kubelet does, or brings it to its next version
// (Kubernetes pkg/volume/util/atomic_writer.go).
func mount(t *testing.T, directory, version string, data []byte) {
	t.Helper()
	old, _ := os.Readlink(directory + "/..data")
	mkdir(t, directory+"/.."+version)
	writeFile(t, directory+"/.."+version+"/sa.pub", data)
	symlink(t, ".."+version, directory+"/..data_tmp")
	rename(t, directory+"/..data_tmp", directory+"/..data")
	if old == "" {
		symlink(t, "..data/sa.pub", directory+"/sa.pub")
		return
	}
	remove(t, filepath.Join(directory, old))
}

// watchCase is a way in which key 1 becomes key 2.
type watchCase struct {
	name           string
	path           string // below the directory
	before, change func(t *testing.T, directory string)
	polled         bool // inotify may not tell
}

func fileCases() []watchCase {
	return []watchCase{
		{
			name: "a file replaced by rename", path: "sa.pub",
			before: func(t *testing.T, d string) { writeFile(t, d+"/sa.pub", publicPEM(t, 1)) },
			change: func(t *testing.T, d string) { replace(t, d+"/sa.pub", publicPEM(t, 2)) },
		},
		{
			name: "a file written in place", path: "sa.pub",
			before: func(t *testing.T, d string) { writeFile(t, d+"/sa.pub", publicPEM(t, 1)) },
			change: func(t *testing.T, d string) { writeFile(t, d+"/sa.pub", publicPEM(t, 2)) },
		},
		{
			name: "a file deleted and made again", path: "sa.pub",
			before: func(t *testing.T, d string) { writeFile(t, d+"/sa.pub", publicPEM(t, 1)) },
			change: func(t *testing.T, d string) { remove(t, d+"/sa.pub"); writeFile(t, d+"/sa.pub", publicPEM(t, 2)) },
		},
		{
			name: "a file that appears", path: "sa.pub",
			before: func(*testing.T, string) {},
			change: func(t *testing.T, d string) { writeFile(t, d+"/sa.pub", publicPEM(t, 2)) },
		},
	}
}

func linkCases() []watchCase {
	return []watchCase{
		{
			name: "a mounted volume's next version, read by file", path: "sa.pub",
			before: func(t *testing.T, d string) { mount(t, d, "v1", publicPEM(t, 1)) },
			change: func(t *testing.T, d string) { mount(t, d, "v2", publicPEM(t, 2)) },
		},
		{
			name: "a mounted volume's next version, read by directory", path: ".",
			before: func(t *testing.T, d string) { mount(t, d, "v1", publicPEM(t, 1)) },
			change: func(t *testing.T, d string) { mount(t, d, "v2", publicPEM(t, 2)) },
		},
		{
			name: "a mounted volume's next version, read through a link from elsewhere", path: "link.pub",
			before: func(t *testing.T, d string) {
				mkdir(t, d+"/mount")
				mount(t, d+"/mount", "v1", publicPEM(t, 1))
				symlink(t, "mount/sa.pub", d+"/link.pub")
			},
			change: func(t *testing.T, d string) { mount(t, d+"/mount", "v2", publicPEM(t, 2)) },
		},
		{
			name: "a link's target written in place", path: "link.pub",
			before: func(t *testing.T, d string) {
				mkdir(t, d+"/far")
				writeFile(t, d+"/far/sa.pub", publicPEM(t, 1))
				symlink(t, d+"/far/sa.pub", d+"/link.pub")
			},
			change: func(t *testing.T, d string) { writeFile(t, d+"/far/sa.pub", publicPEM(t, 2)) },
		},
		{
			name: "a link among the parents that is put elsewhere", path: "current/keys/sa.pub", polled: true,
			before: func(t *testing.T, d string) {
				for n, version := range []string{"v1", "v2"} {
					mkdir(t, d+"/"+version)
					mkdir(t, d+"/"+version+"/keys")
					writeFile(t, d+"/"+version+"/keys/sa.pub", publicPEM(t, n+1))
				}
				symlink(t, "v1", d+"/current")
			},
			change: func(t *testing.T, d string) {
				symlink(t, "v2", d+"/tmp")
				rename(t, d+"/tmp", d+"/current")
			},
		},
	}
}

func directoryCases() []watchCase {
	return []watchCase{
		{
			name: "a file in a directory replaced", path: ".",
			before: func(t *testing.T, d string) { writeFile(t, d+"/a.pub", publicPEM(t, 1)) },
			change: func(t *testing.T, d string) { remove(t, d+"/a.pub"); writeFile(t, d+"/b.pub", publicPEM(t, 2)) },
		},
		{
			name: "the first file in a directory", path: ".",
			before: func(*testing.T, string) {},
			change: func(t *testing.T, d string) { writeFile(t, d+"/sa.pub", publicPEM(t, 2)) },
		},
		{
			name: "another match of a glob", path: "*.pub",
			before: func(t *testing.T, d string) { writeFile(t, d+"/a.pub", publicPEM(t, 1)) },
			change: func(t *testing.T, d string) {
				rename(t, d+"/a.pub", d+"/a.old")
				replace(t, d+"/b.pub", publicPEM(t, 2))
			},
		},
		{
			name: "a directory replaced as a whole", path: "keys",
			before: func(t *testing.T, d string) { mkdir(t, d+"/keys"); writeFile(t, d+"/keys/sa.pub", publicPEM(t, 1)) },
			change: func(t *testing.T, d string) {
				mkdir(t, d+"/next")
				writeFile(t, d+"/next/sa.pub", publicPEM(t, 2))
				remove(t, d+"/keys")
				rename(t, d+"/next", d+"/keys")
			},
		},
		{
			name: "a directory that appears", path: "not/yet/sa.pub", polled: true,
			before: func(*testing.T, string) {},
			change: func(t *testing.T, d string) {
				mkdir(t, d+"/not")
				mkdir(t, d+"/not/yet")
				writeFile(t, d+"/not/yet/sa.pub", publicPEM(t, 2))
			},
		},
	}
}

func TestWatchTellsEveryChange(t *testing.T) {
	t.Parallel()
	for _, test := range slices.Concat(fileCases(), linkCases(), directoryCases()) {
		t.Run(test.name, func(t *testing.T) {
			directory := t.TempDir()
			test.before(t, directory)
			files := newFiles(t, filepath.Join(directory, test.path))
			changes := watch(t, files.Watch)
			test.change(t, directory)
			took := awaitKeys(t, files, changes, 2)
			t.Logf("told after %v", took)
			if !test.polled && took > unpolled {
				t.Errorf("told after %v, by the poll; want less than %v", took, unpolled)
			}
		})
	}
}

func TestWatchGoesOn(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	mount(t, directory, "v0", publicPEM(t, 1))
	files := newFiles(t, directory+"/sa.pub")
	changes := watch(t, files.Watch)
	for i, version := range []string{"v1", "v2", "v3"} {
		mount(t, directory, version, publicPEM(t, 2+i%2))
		if took := awaitKeys(t, files, changes, 2+i%2); took > unpolled {
			t.Errorf("version %s told after %v", version, took)
		}
	}
	remove(t, directory+"/sa.pub")
	awaitKeys(t, files, changes)
}

func TestWatchFollowsADirectoryMadeAnew(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]func(t *testing.T, path string){
		"deleted": remove,
		"renamed": func(t *testing.T, path string) { rename(t, path, path+".old") },
	} {
		t.Run(name, func(t *testing.T) {
			directory := t.TempDir() + "/keys"
			mkdir(t, directory)
			writeFile(t, directory+"/sa.pub", publicPEM(t, 1))
			files := newFiles(t, directory+"/sa.pub")
			changes := watch(t, files.Watch)
			away(t, directory)
			awaitKeys(t, files, changes)
			mkdir(t, directory)
			writeFile(t, directory+"/sa.pub", publicPEM(t, 2))
			awaitKeys(t, files, changes, 2)
			writeFile(t, directory+"/sa.pub", publicPEM(t, 3))
			if took := awaitKeys(t, files, changes, 3); took > unpolled {
				t.Errorf("told after %v, by the poll; want less than %v", took, unpolled)
			}
		})
	}
}

func TestWatchReadsWhatIsWrittenLast(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sa.pub")
	writeFile(t, path, publicPEM(t, 1))
	files := newFiles(t, path)
	changes := watch(t, files.Watch)
	text := publicPEM(t, 2, 3)
	writeFile(t, path, text[:200])
	select { // told of the half, whose reading brings an error and no keys
	case <-changes:
	case <-time.After(limit):
		t.Fatal("not told of the first half")
	}
	if got := observedIDs(t, files); got != nil {
		t.Errorf("half a file gives %q", got)
	}
	writeFile(t, path, text)
	awaitKeys(t, files, changes, 2, 3)
}

func TestWatchIsSilentAboutTheRest(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	writeFile(t, directory+"/sa.pub", publicPEM(t, 1))
	changes := watch(t, newFiles(t, directory).Watch)
	writeFile(t, directory+"/sa.key", []byte("something else"))
	replace(t, directory+"/sa.pub", publicPEM(t, 1))
	select {
	case <-changes:
		t.Error("told of a change where there is none")
	case <-time.After(2500 * time.Millisecond): // longer than settling and polling
	}
}

func TestWatchWorksWithoutInotify(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sa.pub")
	writeFile(t, path, publicPEM(t, 1))
	files := newFiles(t, path)
	changes := watch(t, files.WatchWithoutInotify)
	writeFile(t, path, publicPEM(t, 2))
	awaitKeys(t, files, changes, 2)
}
