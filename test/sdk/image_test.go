//go:build linux

package sdk_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/issuer-sync/issuer-sync/test/sdk"
	"github.com/issuer-sync/issuer-sync/test/servers"
)

// TestNodeRoot runs the client in a root with nothing but what is listed, as
// nobody, as a container from scratch does.
func TestNodeRoot(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		missing(t, "changing the root needs root: run the test as root, as with sudo")
	}
	files, err := sdk.NodeRoot(t.Context())
	if errors.Is(err, servers.ErrNode) || errors.Is(err, sdk.ErrNotInstalled) {
		missing(t, err.Error()+", then test again with -count=1")
	}
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for _, file := range files {
		source, destination, _ := strings.Cut(file, "=")
		if err := put(source, filepath.Join(root, destination)); err != nil {
			t.Fatal(err)
		}
	}
	expires := time.Now().Add(time.Hour).Unix()
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"access_token": "made by hand for %s", "expires_on": "%d", "expires_in": "3600", "token_type": "Bearer", "resource": "x"}`,
			r.FormValue("resource"), expires)
	}))
	defer endpoint.Close()
	cmd := exec.CommandContext(t.Context(), sdk.NodeProgram, sdk.NodeClient, "managed", "https://vault.azure.net")
	cmd.Dir = "/"
	cmd.Env = []string{"AZURE_POD_IDENTITY_AUTHORITY_HOST=" + endpoint.URL}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if want := fmt.Sprintf("made by hand for https://vault.azure.net %d\n", expires); err != nil || string(out) != want {
		t.Errorf("got %q, error %v; want %q", out, err, want)
	}
}

// put copies a file or a folder.
func put(source, destination string) error {
	if err := os.MkdirAll(filepath.Dir(destination), 0o755); err != nil {
		return err
	}
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return os.CopyFS(destination, os.DirFS(source))
	}
	from, err := os.Open(source)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(destination, os.O_CREATE|os.O_WRONLY|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}
