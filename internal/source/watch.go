package source

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settle is how long after the first sign of a change the files are read:
	// by then whoever writes several files, or one in steps, is mostly done.
	settle = 200 * time.Millisecond
	// poll finds what inotify does not tell: changes on network file systems,
	// directories that appear, links among the parents of a directory. It compares
	// contents, not stat: NFS revalidates its attribute cache on open.
	poll = 2 * time.Second
	// maxLinks is where Linux gives up too (path_resolution(7)).
	maxLinks = 40
)

// Watch calls changed whenever the files, or what the paths expand to, have
// other content than before: within a second as a rule, after little more than
// 2 s at worst. It also calls it once when it begins to watch, so that no change
// between an earlier Observe and then is lost. changed must not block.
//
// Watch blocks until ctx ends, and then returns nil.
func (f *Files) Watch(ctx context.Context, changed func()) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		// fs.inotify.max_user_instances is 128 by default, and shared by all containers of a node.
		f.log.WarnContext(ctx, "watching files by polling alone", "err", err)
		watcher = nil
	} else {
		defer watcher.Close()
	}
	f.watch(ctx, watcher, changed)
	return nil
}

func (f *Files) watch(ctx context.Context, watcher *fsnotify.Watcher, changed func()) {
	var events <-chan fsnotify.Event
	var faults <-chan error
	if watcher != nil {
		events, faults = watcher.Events, watcher.Errors
	}
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	var settled <-chan time.Time // nil: no event since the last look
	var last [sha256.Size]byte
	warned := watcher == nil
	for {
		if settled == nil {
			// Directories first: whatever changes after the snapshot is then signalled.
			if err := f.follow(watcher); err != nil && !warned {
				f.log.WarnContext(ctx, "watching some directories by polling alone", "err", err)
				warned = true
			}
			if now := f.snapshot(); now != last {
				last = now
				changed()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-events:
			if settled == nil {
				settled = time.After(settle)
			}
		case err := <-faults:
			f.log.DebugContext(ctx, "lost file events", "err", err)
		case <-settled:
			settled = nil
		case <-ticker.C:
		}
	}
}

// snapshot tells apart what Observe would see.
func (f *Files) snapshot() [sha256.Size]byte {
	hash := sha256.New()
	for _, file := range f.list() {
		data, err := file.read()
		fmt.Fprintf(hash, "%q %v %d\n%s", file.path, err, len(data), data)
	}
	return [sha256.Size]byte(hash.Sum(nil))
}

// follow makes the watcher watch the directories that matter now, and no
// others. The error says which it cannot watch.
func (f *Files) follow(watcher *fsnotify.Watcher) error {
	if watcher == nil {
		return nil
	}
	wanted := f.directories()
	for _, directory := range watcher.WatchList() {
		if !wanted[directory] {
			_ = watcher.Remove(directory) // it may be gone already
		}
	}
	var faults []error
	for directory := range wanted {
		// Does nothing for those that are watched already.
		if err := watcher.Add(directory); err != nil && !errors.Is(err, os.ErrNotExist) {
			faults = append(faults, fmt.Errorf("watching %s: %w", directory, err))
		}
	}
	return errors.Join(faults...)
}

// directories returns the directories in which a change of entries or contents
// may change what is read: those that the paths name, and for each file those
// of every link on the way to it. Kubernetes mounts a ConfigMap's key as a link
// to ..data/key, where ..data is a link that it replaces.
func (f *Files) directories() map[string]bool {
	wanted := make(map[string]bool)
	for _, path := range f.paths {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			follow(filepath.Join(path, "any"), wanted)
		}
		follow(path, wanted)
	}
	for _, file := range f.list() {
		follow(file.path, wanted)
	}
	return wanted
}

// follow adds the real directories of path and of its links' targets.
// Directories that do not exist are left to the poll.
func follow(path string, wanted map[string]bool) {
	for range maxLinks {
		directory, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			return
		}
		wanted[directory] = true
		path = filepath.Join(directory, filepath.Base(path))
		target, err := os.Readlink(path)
		if err != nil {
			return
		}
		if path = target; !filepath.IsAbs(target) {
			path = filepath.Join(directory, target)
		}
	}
}
