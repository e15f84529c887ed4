// Command blobwriter is what a user's program looks like: Azure's SDK for Go
// with its default options. As the pod's identity it writes the text CONTENT
// into a blob and reads it back:
//
//	BLOB_URL=https://ACCOUNT.blob.core.windows.net CONTAINER=c BLOB=b CONTENT=text blobwriter
//	... blobwriter -every 200ms -for 60s
//
// It prints one line. With -every it does all of it again and again, each time
// with a new credential, whose access token nothing has kept, and at its end or
// on SIGTERM prints a summary in JSON.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"

	"github.com/issuer-sync/issuer-sync/test/e2e/workloads/load"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	loop := load.Flags(flag.CommandLine)
	flag.Parse()
	w := writer{account: os.Getenv("BLOB_URL"), container: os.Getenv("CONTAINER"), blob: os.Getenv("BLOB"), content: os.Getenv("CONTENT")}
	err := w.check()
	if err == nil {
		err = loop.Run(ctx, os.Stdout, w.writeAndRead)
	}
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

type writer struct{ account, container, blob, content string }

func (w writer) check() error {
	if w.account == "" || w.container == "" || w.blob == "" {
		return errors.New("BLOB_URL, CONTAINER and BLOB: want all three set")
	}
	return nil
}

// writeAndRead starts from nothing but the pod's variables and files.
func (w writer) writeAndRead(ctx context.Context) (line string, err error) {
	credential, err := azidentity.NewWorkloadIdentityCredential(nil)
	if err != nil {
		return "", fmt.Errorf("making the credential: %w", err)
	}
	client, err := azblob.NewClient(w.account, credential, nil)
	if err != nil {
		return "", fmt.Errorf("making the client of %q: %w", w.account, err)
	}
	if _, err := client.UploadBuffer(ctx, w.container, w.blob, []byte(w.content), nil); err != nil {
		return "", fmt.Errorf("writing the blob: %w", err)
	}
	response, err := client.DownloadStream(ctx, w.container, w.blob, nil)
	if err != nil {
		return "", fmt.Errorf("reading the blob: %w", err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return "", fmt.Errorf("reading the blob: %w", err)
	}
	if !bytes.Equal(content, []byte(w.content)) {
		return "", fmt.Errorf("the blob holds %q; want %q", content, w.content)
	}
	return fmt.Sprintf("wrote and read %d bytes: %s/%s", len(content), w.container, w.blob), nil
}
