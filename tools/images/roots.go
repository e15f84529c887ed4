package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// rootsPath is where Go looks first for CA roots (crypto/x509, root_linux.go).
	rootsPath = "/etc/ssl/certs/ca-certificates.crt"

	// Where Debian's package ca-certificates has what Mozilla trusts, one root a
	// file. /etc/ssl/certs/ca-certificates.crt of the machine would be shorter, but
	// it has the machine's own CAs too, and they have no place in an image.
	debianRoots  = "/usr/share/ca-certificates/mozilla"
	debianStatus = "/var/lib/dpkg/status"
)

// roots are the CAs that an image trusts.
type roots struct {
	SHA256       string `json:"sha256"`
	Certificates int    `json:"certificates"`
	Debian       string `json:"debian,omitempty"` // version of the package ca-certificates; empty for -ca

	pem []byte
}

// readRoots reads a bundle of PEM certificates or, without a name, what Debian
// has.
func readRoots(name string) (roots, error) {
	if name == "" {
		return readDebianRoots(debianRoots, debianStatus)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return roots{}, fmt.Errorf("reading CA roots, flag -ca: %w", err)
	}
	found, err := parseRoots(text)
	if err != nil {
		return roots{}, fmt.Errorf("reading CA roots, flag -ca, %q: %w", name, err)
	}
	return found, nil
}

// readDebianRoots reads the certificates of a folder, in the order of their
// names, and the version of their package.
func readDebianRoots(dir, status string) (roots, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.crt"))
	if err != nil || len(names) == 0 {
		return roots{}, fmt.Errorf("reading CA roots: there is none in %q: install Debian's package ca-certificates, or name a PEM file with -ca FILE", dir)
	}
	slices.Sort(names)
	var bundle bytes.Buffer
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return roots{}, fmt.Errorf("reading CA roots: %w", err)
		}
		bundle.Write(append(bytes.TrimSpace(text), '\n'))
	}
	found, err := parseRoots(bundle.Bytes())
	if err != nil {
		return roots{}, fmt.Errorf("reading CA roots in %q: %w", dir, err)
	}
	found.Debian, err = debianVersion(status)
	return found, err
}

// parseRoots takes nothing but certificates: what is in an image is public.
func parseRoots(text []byte) (roots, error) {
	count := 0
	for rest := text; ; count++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return roots{}, fmt.Errorf("PEM block %d is %q; want CERTIFICATE only", count+1, block.Type)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return roots{}, fmt.Errorf("PEM block %d: %w", count+1, err)
		}
	}
	if count == 0 {
		return roots{}, errors.New("no PEM block; want certificates")
	}
	sum := sha256.Sum256(text)
	return roots{SHA256: hex.EncodeToString(sum[:]), Certificates: count, pem: text}, nil
}

// debianVersion looks the package up where dpkg notes what is installed; empty
// where the roots came without dpkg.
func debianVersion(status string) (string, error) {
	file, err := os.Open(status)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading the version of ca-certificates: %w", err)
	}
	defer file.Close()
	inside := false
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case key == "Package":
			inside = value == "ca-certificates"
		case inside && key == "Version":
			return value, nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("reading the version of ca-certificates: %w", err)
	}
	return "", nil
}
