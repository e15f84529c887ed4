package servers_test

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"

	"github.com/issuer-sync/issuer-sync/test/servers"
)

func TestAzurite(t *testing.T) {
	start := time.Now()
	azurite := servers.StartAzurite(t)
	t.Logf("Azurite ready after %v", time.Since(start).Round(time.Millisecond))
	public := azurite.CreateContainer(t, "public", true)
	private := azurite.CreateContainer(t, "private", false)
	web := azurite.CreateContainer(t, "$web", true)
	putBySDK(t, azurite, "private", "put by the SDK")

	t.Run("serves blobs of public containers to anyone", func(t *testing.T) {
		for _, container := range []string{public, web} {
			put(t, azurite, container+"/a/blob?"+azurite.SAS(t, container[strings.LastIndex(container, "/")+1:]), "", "public content")
			if got := get(t, azurite.Client(), newRequest(t, container+"/a/blob", "")); got != "public content" {
				t.Errorf("blob in %s: %q", container, got)
			}
		}
	})
	t.Run("hides blobs of private containers", func(t *testing.T) {
		status, body := do(t, azurite.Client(), newRequest(t, private+"/blob", ""))
		if status != http.StatusNotFound && status != http.StatusForbidden {
			t.Errorf("status %d: %s; want 403 or 404", status, body)
		}
	})
	t.Run("shows them to the bearer of a SAS token", func(t *testing.T) {
		if got := get(t, azurite.Client(), newRequest(t, private+"/blob?"+azurite.SAS(t, "private"), "")); got != "put by the SDK" {
			t.Errorf("blob %q", got)
		}
	})
	t.Run("shows them to the bearer of an OAuth token", func(t *testing.T) {
		if got := get(t, azurite.Client(), newRequest(t, private+"/blob", azurite.OAuthToken())); got != "put by the SDK" {
			t.Errorf("blob %q", got)
		}
		header, _, _ := strings.Cut(azurite.OAuthToken(), ".")
		status, body := do(t, azurite.Client(), newRequest(t, private+"/blob", header+".e30.x"))
		if status != http.StatusForbidden {
			t.Errorf("a token without claims: status %d: %s; want 403", status, body)
		}
	})
	t.Run("keeps data and address through a stop", func(t *testing.T) { testAzuriteStop(t, azurite, private) })
}

func testAzuriteStop(t *testing.T, azurite *servers.Azurite, container string) {
	url := azurite.AccountURL()
	put(t, azurite, container+"/kept", azurite.OAuthToken(), "kept content")
	azurite.Stop()
	if response, err := azurite.Client().Do(newRequest(t, container, "")); !errors.Is(err, syscall.ECONNREFUSED) {
		if err == nil {
			_ = response.Body.Close()
		}
		t.Errorf("request to the stopped service: %v; want connection refused", err)
	}
	azurite.Start(t)
	if azurite.AccountURL() != url {
		t.Errorf("account URL %s; want %s", azurite.AccountURL(), url)
	}
	if got := get(t, azurite.Client(), newRequest(t, container+"/kept", azurite.OAuthToken())); got != "kept content" {
		t.Errorf("blob %q", got)
	}
}

// putBySDK stores a blob with the connection string, as a user of the SDK would.
func putBySDK(t *testing.T, azurite *servers.Azurite, container, content string) {
	t.Helper()
	options := &azblob.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: azurite.Client()}}
	client, err := azblob.NewClientFromConnectionString(azurite.ConnectionString(), options)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.UploadBuffer(t.Context(), container, "blob", []byte(content), nil); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, azurite *servers.Azurite, url, token, content string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Ms-Blob-Type", "BlockBlob")
	request.Header.Set("X-Ms-Version", "2024-11-04")
	authorize(request, token)
	if status, body := do(t, azurite.Client(), request); status != http.StatusCreated {
		t.Fatalf("PUT %s: status %d: %s; want 201", request.URL.Path, status, body)
	}
}

func newRequest(t *testing.T, url, token string) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Ms-Version", "2024-11-04")
	authorize(request, token)
	return request
}

func authorize(request *http.Request, token string) {
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
}

// childVariable makes TestServersDieWithTheTest play the test that is killed.
const childVariable = "SERVERS_TEST_CHILD"

func TestServersDieWithTheTest(t *testing.T) {
	if _, child := os.LookupEnv(childVariable); child {
		azurite := servers.StartAzurite(t)
		_, _ = os.Stdout.WriteString("\n" + azurite.AccountURL() + "\n")
		<-t.Context().Done() // until the parent kills this process
		return
	}
	servers.StartAzurite(t) // skips where there is none
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	child.Env = append(child.Environ(), childVariable+"=yes")
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	connection := dialPrinted(t, bufio.NewScanner(stdout))
	defer func() { _ = connection.Close() }()
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // it was killed
	if err := connection.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := connection.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the server outlived its test by 10 seconds")
	}
}

// dialPrinted connects to the service whose URL is on the scanner's lines.
func dialPrinted(t *testing.T, lines *bufio.Scanner) net.Conn {
	t.Helper()
	for lines.Scan() {
		if address, ok := strings.CutPrefix(lines.Text(), "https://"); ok {
			connection, err := dial(t, strings.TrimSuffix(address, "/devstoreaccount1"))
			if err != nil {
				t.Fatal(err)
			}
			return connection
		}
	}
	t.Fatal("the child printed no URL")
	return nil
}
