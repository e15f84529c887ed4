package guides_test

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/issuer-sync/issuer-sync/test/docs"
	"github.com/issuer-sync/issuer-sync/test/program"
)

// Commands of ours in examples exist, and so do their flags.
func TestCommandsExist(t *testing.T) {
	command := regexp.MustCompile(`(?m)(?:^ *|[|(] ?|-- /|until |&& )(issuer-sync|webhook|proxy)((?: [a-z-]+)?)((?: [^|;&\n#]*)?)`)
	flag := regexp.MustCompile(` (--[a-z-]+)`)
	helps := map[string]string{}
	count := 0
	for _, path := range pages(t) {
		_, fences := split(docs.Page(t, path))
		for _, f := range fences {
			if f.language != "sh" {
				continue
			}
			text := strings.ReplaceAll(f.text, "\\\n", "")
			for _, match := range command.FindAllStringSubmatch(text, -1) {
				name, sub, rest := match[1], strings.TrimSpace(match[2]), match[3]
				if strings.HasPrefix(sub, "-") {
					sub, rest = "", match[2]+rest
				}
				count++
				help, known := helps[name+sub]
				if !known {
					help = helpOf(t, name, sub)
					helps[name+sub] = help
				}
				for _, used := range flag.FindAllStringSubmatch(rest, -1) {
					if !regexp.MustCompile(used[1] + `\b`).MatchString(help) {
						t.Errorf("%s, line %d and on: %s %s has no flag %s", path, f.line, name, sub, used[1])
					}
				}
			}
		}
	}
	if count < 30 {
		t.Errorf("%d commands were found; want the many that there are", count)
	}
}

// helpOf returns what a command says of itself; it must know the command.
func helpOf(t *testing.T, name, sub string) string {
	t.Helper()
	args := append(strings.Fields(sub), "--help")
	out, err := exec.CommandContext(t.Context(), program.Build(t, "cmd/"+name), args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", name, sub, err, out)
	}
	// cobra shows the help of the root for what it does not know.
	if sub != "" && !strings.Contains(string(out), name+" "+sub) {
		t.Errorf("%s has no command %s", name, sub)
	}
	return string(out)
}
