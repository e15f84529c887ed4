package state_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/issuer-sync/issuer-sync/internal/keytest"
	"github.com/issuer-sync/issuer-sync/internal/state"
	"github.com/issuer-sync/issuer-sync/internal/store/memory"
	"github.com/issuer-sync/issuer-sync/pkg/keys"
	"github.com/issuer-sync/issuer-sync/pkg/oidc"
)

func whole(t *testing.T) state.State {
	t.Helper()
	at := time.Date(2026, 11, 22, 6, 0, 0, 123, time.FixedZone("", 3600))
	records := []keys.Record{
		{Key: keytest.Key(t, 1), Seen: at, Published: at.Add(1), Exempt: true, Signs: at.Add(2), Origins: []string{"a", "b"}},
		{Key: keytest.Key(t, 2), Seen: at, Absent: at.Add(3), Guarded: true, Revoked: at.Add(4)},
	}
	if records[0].Key.ID > records[1].Key.ID {
		records[0], records[1] = records[1], records[0]
	}
	return state.State{Issuer: "https://x.test/a?b&c"}.With(records, []string{"one", "two"}, []string{"cluster"})
}

func render(t *testing.T, s state.State) string {
	t.Helper()
	body, err := s.Render()
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func parse(t *testing.T, body string) state.State {
	t.Helper()
	s, err := state.Parse([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWhatIsRenderedIsParsed(t *testing.T) {
	before := whole(t)
	after := parse(t, render(t, before))
	if diff := cmp.Diff(before.Records, after.Records); diff != "" {
		t.Errorf("records (-before +after):\n%s", diff)
	}
	if after.Issuer != before.Issuer || !after.Knows("two") || after.Knows("three") || !after.HasMatched("cluster") || after.HasMatched("one") {
		t.Errorf("after: %+v", after)
	}
	if render(t, after) != render(t, before) {
		t.Error("it is rendered differently the second time")
	}
	if got := before.Published().IDs(); len(got) != 1 || got[0] != keytest.Key(t, 1).ID {
		t.Errorf("published %v; want the key that is not revoked", got)
	}
}

// Documents may be public, and with them the state.
func TestNothingPrivateIsRendered(t *testing.T) {
	body := render(t, whole(t))
	for _, name := range []string{`"d"`, "one", "two", "cluster"} {
		if strings.Contains(body, name) {
			t.Errorf("%s is in it:\n%s", name, body)
		}
	}
}

// The golden file is what versions in the field have written. The key is the
// one that Kubernetes pins in its tests; times and origins were made by hand.
func TestGolden(t *testing.T) {
	golden, err := os.ReadFile(filepath.Join("testdata", "v1.json"))
	if err != nil {
		t.Fatal(err)
	}
	s := parse(t, string(golden))
	if got := render(t, s); got != string(golden) {
		t.Errorf("rendered (-golden +got):\n%s", cmp.Diff(string(golden), got))
	}
	if len(s.Records) != 1 || s.Records[0].Absent.IsZero() || s.Records[0].Exempt {
		t.Errorf("parsed: %+v", s.Records)
	}
}

// What a newer version wrote beside what this one knows is kept, as long as
// its key is.
func TestUnknownMembersAreKept(t *testing.T) {
	id := keytest.Key(t, 1).ID
	body := render(t, whole(t))
	body = strings.Replace(body, `"version": 1`, `"version": 1, "weather": {"sunny": true}`, 1)
	body = strings.Replace(body, `"exempt": true`, `"exempt": true, "colour": "blue"`, 1)
	s := parse(t, body)
	kept := render(t, s.With(s.Records, []string{"three"}, nil))
	for _, want := range []string{`"weather": {`, `"sunny": true`, `"colour": "blue"`} {
		if !strings.Contains(kept, want) {
			t.Errorf("%s is lost:\n%s", want, kept)
		}
	}
	var others []keys.Record
	for _, record := range s.Records {
		if record.Key.ID != id {
			others = append(others, record)
		}
	}
	if left := render(t, s.With(others, nil, nil)); strings.Contains(left, "colour") {
		t.Errorf("what belonged to a key that left is still there:\n%s", left)
	}
}

func TestWhatIsNoStateIsRefused(t *testing.T) {
	good := render(t, whole(t))
	for name, test := range map[string]struct {
		body string
		want error
	}{
		"nothing":              {"", state.ErrDamaged},
		"HTML":                 {"<html>", state.ErrDamaged},
		"half of it":           {good[:len(good)/2], state.ErrDamaged},
		"no version":           {`{"keys":[]}`, state.ErrDamaged},
		"another type":         {`{"version":1,"keys":{}}`, state.ErrDamaged},
		"a key without a jwk":  {`{"version":1,"keys":[{}]}`, state.ErrDamaged},
		"a private key":        {strings.Replace(good, `"kty"`, `"d": "AQ", "kty"`, 1), state.ErrDamaged},
		"a time that is none":  {strings.Replace(good, `"seen": "2026`, `"seen": "26`, 1), state.ErrDamaged},
		"a member twice":       {strings.Replace(good, `"version": 1`, `"version": 1, "version": 1`, 1), state.ErrDamaged},
		"something behind it":  {good + "{}", state.ErrDamaged},
		"a newer format":       {`{"version":2,"keys":"whatever"}`, state.ErrNewer},
		"a much newer version": {`{"version":99}`, state.ErrNewer},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := state.Parse([]byte(test.body)); !errors.Is(err, test.want) {
				t.Errorf("error %v; want %v", err, test.want)
			}
		})
	}
	twice := strings.Replace(good, keytest.Key(t, 2).ID, keytest.Key(t, 1).ID, 1)
	if _, err := state.Parse([]byte(twice)); !errors.Is(err, state.ErrDamaged) {
		t.Errorf("a key ID twice: error %v", err)
	}
}

func TestStore(t *testing.T) {
	store := memory.New()
	if _, _, err := state.Read(t.Context(), store); !errors.Is(err, oidc.ErrNotFound) {
		t.Errorf("absent: %v", err)
	}
	if err := state.Write(t.Context(), store, whole(t), ""); err != nil {
		t.Fatal(err)
	}
	read, version, err := state.Read(t.Context(), store)
	if err != nil || render(t, read) != render(t, whole(t)) {
		t.Errorf("read %v, %v", read, err)
	}
	if err := state.Write(t.Context(), store, read.With(nil, nil, nil), "other"); !errors.Is(err, oidc.ErrConflict) {
		t.Errorf("with another base: %v", err)
	}
	lossy := lossy{store}
	if err := state.Write(t.Context(), lossy, read.With(nil, nil, nil), version); err != nil {
		t.Errorf("a write whose answer was lost: %v", err)
	}
}

// lossy persists writes and loses the answers.
type lossy struct{ *memory.Store }

func (l lossy) Write(ctx context.Context, object oidc.Object, base oidc.Version) (oidc.Version, error) {
	_, err := l.Store.Write(ctx, object, base)
	return "", errors.Join(errors.New("connection reset"), err)
}

// FuzzParse: whatever is read is rendered to something that is read as the same.
func FuzzParse(f *testing.F) {
	golden, err := os.ReadFile(filepath.Join("testdata", "v1.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add([]byte(`{"version":1,"keys":[],"x":[1e400]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := state.Parse(data)
		if err != nil {
			return
		}
		rendered := render(t, first)
		if strings.Contains(rendered, `"d":`) && !strings.Contains(string(data), `"d"`) {
			t.Errorf("a member came from nowhere:\n%s", rendered)
		}
		if again := render(t, parse(t, rendered)); again != rendered {
			t.Errorf("unstable:\n%s\n%s", rendered, again)
		}
	})
}
