package helm_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/issuer-sync/issuer-sync/test/helm"
)

// What the user of the machine has configured changes nothing.
func TestTheUsersConfigurationIsNotRead(t *testing.T) {
	users := t.TempDir()
	if err := os.WriteFile(filepath.Join(users, "repositories.yaml"), []byte("repositories: [{name: users, url: https://charts.example}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HELM_CONFIG_HOME", users)
	out, err := helm.Run(t, "env")
	if err != nil || !strings.Contains(out, "HELM_REPOSITORY_CONFIG=") || strings.Contains(out, users) {
		t.Errorf("helm env: %v; want none of %s\n%s", err, users, out)
	}
}

func TestRender(t *testing.T) {
	const values = "imageRepository: registry.example/issuer-sync\nazureTenantID: contoso.onmicrosoft.com\n"
	for name, c := range map[string]struct {
		values string
		args   []string
		want   string // of the output, or of the error
	}{
		"values":                {values, nil, "registry.example/issuer-sync/webhook:0.1.0"},
		"values and arguments":  {values, []string{"--set=image.release=v9"}, "registry.example/issuer-sync/webhook:v9"},
		"values that are wrong": {"failurePolicy: none", nil, "running helm template: exit status 1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := helm.Render(t, c.values, c.args...)
			if err != nil {
				out = err.Error()
			}
			if !strings.Contains(out, c.want) {
				t.Errorf("got %v\nwant %q in it", out, c.want)
			}
		})
	}
}
