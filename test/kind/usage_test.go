package kind_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/issuer-sync/issuer-sync/test/servers"
)

func TestWrongUsage(t *testing.T) {
	// Of the tools, what the scripts themselves need is there, and no other.
	bare := t.TempDir()
	for _, name := range []string{"bash", "dirname", "cat", "grep", "env"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(bare, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		script string
		args   []string
		more   string // of the environment
		code   int
		want   string
	}{
		"an unknown mode":      {"up.sh", []string{"online"}, "", 2, `^up.sh: argument "online"; want offline, azure or --yes, see --help\n$`},
		"an argument too much": {"down.sh", []string{"all"}, "", 2, `^down.sh: argument "all"; want none, see --help\n$`},
		"no tools": {
			"up.sh",
			[]string{"azure"},
			"PATH=" + bare, 1,
			`^up.sh: kind is not there: .*\nup.sh: kubectl is not there: .*\nup.sh: helm is not there: .*\nup.sh: openssl is not there: .*\nup.sh: az is not there: .*\nup.sh: nothing was done; run it again when these tools are in PATH\n$`,
		},
		"a kind that is elsewhere": {"down.sh", nil, "KIND=/nonexistent/kind -v", 1, `^down.sh: /nonexistent/kind is not there: .*\n.*nothing was done`},
		"no Docker":                {"down.sh", nil, "KIND_EXPERIMENTAL_PROVIDER= PATH=" + bare, 1, `down.sh: docker is not there: https://`},
		"no images":                {"up.sh", nil, "IMAGES=/nonexistent", 1, `^up.sh: there is no /nonexistent/images.json; want IMAGES to be what make images made, or empty\n$`},
		"nobody to ask":            {"up.sh", []string{"azure"}, "", 1, `^up.sh: there is nobody to ask; give --yes to agree\n$`},
		"Docker is not running":    {"down.sh", nil, "FAKE_DOWN=1", 1, `^down.sh: kind cannot list its clusters: is Docker running\?\n$`},
		"logged out of Azure":      {"up.sh", []string{"azure", "--yes"}, "FAKE_LOGGED_OUT=1", 1, `^up.sh: az does not know an account; run az login\n$`},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			if before, path, found := strings.Cut(test.more, " PATH="); found {
				m.environment = append(m.environment, before, "PATH="+path)
			} else if test.more != "" {
				m.environment = append(m.environment, test.more)
			}
			_, stderr, code := m.run(t, test.script, test.args...)
			if code != test.code || !regexp.MustCompile(test.want).MatchString(stderr) {
				t.Errorf("exit code %d, stderr %q; want %d and %s", code, stderr, test.code, test.want)
			}
			if calls, err := os.ReadFile(filepath.Join(m.fake, "calls")); err == nil && strings.Contains(string(calls), "create") {
				t.Errorf("it made something: %s", calls)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	m := newMachine(t)
	for script, want := range map[string]string{"up.sh": "Usage: up.sh [offline|azure] [--yes]\n", "down.sh": "Usage: down.sh\n"} {
		for _, flag := range []string{"--help", "-h"} {
			if stdout := m.good(t, script, flag); !strings.HasPrefix(stdout, want) || !strings.Contains(stdout, "Exit codes: 0 good") {
				t.Errorf("%s %s wrote %q", script, flag, stdout)
			}
		}
	}
}

func TestShellcheck(t *testing.T) {
	checker, err := exec.LookPath("shellcheck")
	if err != nil {
		if servers.InCI() {
			t.Fatal("shellcheck is not installed")
		}
		t.Skip("shellcheck is not installed; on Debian: apt install shellcheck")
	}
	scripts, err := filepath.Glob(filepath.Join(folder, "*.sh"))
	if err != nil || len(scripts) != 4 {
		t.Fatalf("found %q, %v; want four scripts", scripts, err)
	}
	played, err := filepath.Glob("testdata/*/*")
	if err != nil {
		t.Fatal(err)
	}
	arguments := slices.Concat([]string{"--external-sources"}, scripts, played)
	if out, err := exec.CommandContext(t.Context(), checker, arguments...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
