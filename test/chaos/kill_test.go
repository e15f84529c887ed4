package chaos_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/issuer-sync/issuer-sync/test/servers"
)

// A daemon that is killed at any moment, over and over, while keys come and
// go, leaves nothing broken behind, and the next one goes on from there.
func TestKillWithDirectoryStore(t *testing.T) {
	keys := newPool(t)
	total := killings{store: "directory"}
	for _, kills := range scaled(lifetimes(24, 4, 4), lifetimes(800, 40, 5)) {
		h := newHome(t, "https://x.test/chaos", "{directory: {path: www}}")
		s := newStage(t, h, keys, fromDirectory(h.path("www")))
		k := killer{stage: s, writes: watchWrites(t, h.dir), startup: 150 * time.Millisecond, write: 5 * time.Millisecond}
		if total.add(k.run(t, kills, 10*time.Millisecond)); t.Failed() {
			break
		}
	}
	t.Log(total)
}

// The same against a blob store, read over HTTP.
func TestKillWithBlobStore(t *testing.T) {
	keys := newPool(t)
	azurite := servers.StartAzurite(t)
	client := manyConnections(azurite.Client())
	total := killings{store: "Azurite"}
	for _, kills := range scaled(lifetimes(5, 1, 3), lifetimes(80, 5, 4)) {
		p := newProxy(t, azurite)
		h := newBlobHome(t, azurite, p)
		s := newStage(t, h, keys, fromHTTP(client, h.issuer))
		k := killer{stage: s, writes: p.puts, startup: 300 * time.Millisecond, write: 30 * time.Millisecond}
		if total.add(k.run(t, kills, 300*time.Millisecond)); t.Failed() {
			break
		}
	}
	t.Log(total)
}

// lifetimes returns how often the daemons of one store after the other are
// killed: one of them often, so that keys go the whole way to their end, the
// others while they begin.
func lifetimes(long, count, short int) []int {
	return append([]int{long}, slices.Repeat([]int{short}, count)...)
}

// killer kills the daemons of one stage.
type killer struct {
	*stage
	// writes tells that something in the store is being written.
	writes <-chan struct{}
	// startup is the time in which a daemon starts and publishes, write that
	// of its writes; kills are spread over them.
	startup, write time.Duration
	sum            killings
}

// killings is a summary.
type killings struct {
	store string
	// amid counts the kills that came within killer.write of the first sign of
	// a write, unfinished those after which a key was missing in the documents
	// although a write had begun.
	kills, amid, unfinished    int
	reads, invalid, lost, left int
	took                       time.Duration
}

func (k *killings) add(other killings) {
	k.kills += other.kills
	k.amid += other.amid
	k.unfinished += other.unfinished
	k.reads += other.reads
	k.invalid += other.invalid
	k.lost += other.lost
	k.left += other.left
	k.took += other.took
}

// String returns the line for people.
func (k killings) String() string {
	return fmt.Sprintf("kill -9, %s store: %d kills, %d within milliseconds of a write, %d seen to leave work unfinished; "+
		"%d readers, %d reads: %d invalid, %d lost keys; %d keys left in due time; %.0f s",
		k.store, k.kills, k.amid, k.unfinished, readerCount, k.reads, k.invalid, k.lost, k.left, k.took.Seconds())
}

func (k *killer) run(t *testing.T, kills int, pace time.Duration) killings {
	t.Helper()
	k.sum.kills = kills
	begin := time.Now()
	defer k.verdict(t) // also if something ends the test
	stop := k.readers.start(t.Context(), pace)
	defer stop()
	first := rand.N(4)
	for i := range kills {
		k.killOne(t, first+i)
		k.checkState(t, true)
		if i%8 == 7 {
			k.publishOnce(t)
		}
	}
	last := k.start(t)
	k.converge(t, last, patience)
	k.checkState(t, false)
	last.lives(t, pace, nil) // for the readers to see it
	stop()
	last.kill(t)
	k.sum.reads, k.sum.invalid, k.sum.lost = k.readers.reads, k.readers.invalid, k.readers.lost
	k.sum.left, k.sum.took = k.files.ledger.departures(), time.Since(begin)
	return k.sum
}

// killOne changes keys, starts a daemon and kills it, by turns at any moment
// of its start, at its first write, and when it publishes a change.
func (k *killer) killOne(t *testing.T, turn int) {
	t.Helper()
	for range 1 + rand.N(2) {
		k.files.change(t)
	}
	k.drain()
	d := k.start(t)
	var wrote bool
	switch turn % 4 {
	case 0, 1:
		d.lives(t, rand.N(k.startup), nil)
		wrote = k.drain()
	case 2:
		wrote = k.awaitWrite(t, d)
	case 3:
		k.settle(t, d)
		k.files.change(t)
		k.drain()
		wrote = k.awaitWrite(t, d)
	}
	d.kill(t)
	if present, _ := k.files.ledger.present(); wrote && present&^k.published(t).keys != 0 {
		k.sum.unfinished++
	}
}

// awaitWrite waits for the first sign of a write, and a little longer. Not
// every change needs one.
func (k *killer) awaitWrite(t *testing.T, d *daemon) bool {
	t.Helper()
	wrote := d.lives(t, interval/2, k.writes)
	if wrote {
		k.sum.amid++
	}
	d.lives(t, rand.N(k.write), nil)
	return wrote
}

// settle waits until the daemon has published all keys, though not for long:
// it is here to be killed.
func (k *killer) settle(t *testing.T, d *daemon) {
	t.Helper()
	for range 100 {
		present, _ := k.files.ledger.present()
		if present&^k.published(t).keys == 0 {
			return
		}
		d.lives(t, 20*time.Millisecond, nil)
	}
}

// drain forgets writes that were told, and reports whether there were any.
func (k *killer) drain() bool {
	select {
	case <-k.writes:
		return true
	default:
		return false
	}
}

// watchWrites tells whenever something changes in the directory or below it,
// but for key files and the log.
func watchWrites(t *testing.T, dir string) <-chan struct{} {
	t.Helper()
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	store := filepath.Join(dir, "www")
	if err := watcher.Add(dir); err != nil {
		t.Fatal(err)
	}
	writes, done := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case event, open := <-watcher.Events:
				if !open {
					return
				}
				if within(store, event.Name) {
					follow(watcher, event.Name)
					tell(writes)
				}
			case <-watcher.Errors: //nolint:errcheck // an event less to kill at
			}
		}
	}()
	t.Cleanup(func() {
		watcher.Close() //nolint:errcheck // it only read
		<-done
	})
	return writes
}

func within(dir, name string) bool {
	relative, err := filepath.Rel(dir, name)
	return err == nil && filepath.IsLocal(relative)
}

// follow watches a new directory, and those that were made in it meanwhile.
func follow(watcher *fsnotify.Watcher, name string) {
	_ = filepath.WalkDir(name, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err == nil && entry.IsDir() {
			err = watcher.Add(path)
		}
		return err
	})
}

// tell signals to a channel that holds one signal.
func tell(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
