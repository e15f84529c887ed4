package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

// promptly is far more than any call here takes, and less than a caller of a
// store that hangs would wait.
const promptly = 20 * time.Second

// counter lets 16 writers on stores of their own add to one number, each by
// reading it and writing the next.
func counter(t *testing.T, open Open) {
	const writers, increments = 16, 2
	stores := make([]oidc.Store, writers)
	for i := range stores {
		stores[i] = open(t, nil) // before any writer: it may end the test
	}
	var group sync.WaitGroup
	for _, s := range stores {
		group.Go(func() {
			for range increments {
				if err := increment(t.Context(), s); err != nil {
					t.Errorf("incrementing: %v", err)
					return
				}
			}
		})
	}
	group.Wait()
	object, _ := mustRead(t, open(t, nil), statePath)
	if got, want := string(object.Body), strconv.Itoa(writers*increments); got != want {
		t.Errorf("the counter is %s after %s increments", got, want)
	}
}

func increment(ctx context.Context, s oidc.Store) error {
	for {
		object, version, err := s.Read(ctx, statePath)
		if err != nil && !errors.Is(err, oidc.ErrNotFound) {
			return err
		}
		n, err := strconv.Atoi("0" + string(object.Body))
		if err != nil {
			return err
		}
		_, err = s.Write(ctx, document(statePath, strconv.Itoa(n+1)), version)
		if !errors.Is(err, oidc.ErrConflict) {
			return err
		}
	}
}

// wholeObjects reads while another store writes bodies of different sizes that
// each repeat one letter.
func wholeObjects(t *testing.T, open Open) {
	const size = 50 << 10
	writer := open(t, nil)
	version := mustWrite(t, writer, document(oidc.JWKSPath, uniform(0, size)), "")
	var written atomic.Bool
	var group sync.WaitGroup
	for range 4 {
		reader := open(t, nil)
		group.Go(func() {
			for !written.Load() {
				object, _, err := reader.Read(t.Context(), oidc.JWKSPath)
				if err == nil {
					err = checkUniform(object.Body, size)
				}
				if err != nil {
					t.Errorf("reading during writes: %v", err)
					return
				}
			}
		})
	}
	defer group.Wait()
	defer written.Store(true)
	for i := range 30 {
		version = mustWrite(t, writer, document(oidc.JWKSPath, uniform(i, size)), version)
	}
}

// uniform repeats the i-th letter, size times and more by i, so that both parts
// of a torn body tell.
func uniform(i, size int) string {
	i %= 26
	return strings.Repeat(string(rune('a'+i)), size+i)
}

func checkUniform(body []byte, size int) error {
	if len(body) == 0 {
		return errors.New("the body is empty")
	}
	if want := uniform(int(body[0]-'a'), size); string(body) != want {
		return fmt.Errorf("the body is torn: %s to %q", abridge(body), body[len(body)-1])
	}
	return nil
}

// cancelledDuring cancels writes while they are under way. One that returned
// may still arrive later, so that the next one conflicts.
func cancelledDuring(t *testing.T, open Open) {
	// Small enough to be sent in one piece: Azurite 3.35, when an upload ends
	// halfway, closes the file that it goes on writing to, and if a new
	// connection gets that descriptor, its client gets the bytes.
	const size = 1 << 10
	s := open(t, nil)
	mustWrite(t, s, document(oidc.JWKSPath, uniform(0, size)), "")
	for i := range 20 {
		before, base := mustRead(t, s, oidc.JWKSPath)
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*200*time.Microsecond)
		returned := make(chan struct{})
		go func() {
			defer close(returned)
			_, _ = s.Write(ctx, document(oidc.JWKSPath, uniform(i+1, size)), base)
		}()
		select {
		case <-returned:
		case <-time.After(promptly):
			t.Fatalf("write %d goes on %s after its context ended", i, promptly)
		}
		cancel()
		after, version := mustRead(t, s, oidc.JWKSPath)
		if err := checkUniform(after.Body, size); err != nil {
			t.Fatalf("after the cancelled write %d: %v", i, err)
		}
		if sameBody, sameVersion := bytes.Equal(before.Body, after.Body), version == base; sameBody != sameVersion {
			t.Errorf("after the cancelled write %d: the body is the old one: %t, the version: %t", i, sameBody, sameVersion)
		}
	}
}
