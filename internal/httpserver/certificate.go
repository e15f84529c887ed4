package httpserver

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// lookInterval is how often a handshake may look at the files again. It bounds
// the age of a replaced certificate, and what looking costs.
const lookInterval = 5 * time.Second

// Certificate is a certificate and private key in two files, which are read
// again when they change: a renewed certificate is served within seconds,
// without a restart. It is safe for concurrent use.
type Certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex // guards what follows
	looked  time.Time
	seen    [2]os.FileInfo
	current *tls.Certificate
	trouble string // what was logged last of files that cannot be served; empty: they can
}

// NewCertificate reads the PEM files. An error names the file at fault.
func NewCertificate(certFile, keyFile string, log *slog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log, looked: time.Now()}
	seen, err := c.stat()
	if err != nil {
		return nil, err
	}
	if c.current, err = c.load(); err != nil {
		return nil, err
	}
	c.seen = seen
	return c, nil
}

// Get implements tls.Config.GetCertificate. While the files are missing or do
// not fit each other, as in the middle of a renewal, it returns the last good
// certificate.
func (c *Certificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) >= lookInterval {
		c.looked = time.Now()
		c.refresh()
	}
	return c.current, nil
}

// refresh loads the files if they are not those seen last. Trouble with them is
// logged when it begins and when it changes, not at each look. The caller holds
// c.mu.
func (c *Certificate) refresh() {
	seen, err := c.stat()
	if err == nil && same(seen, c.seen) {
		c.trouble = ""
		return
	}
	var loaded *tls.Certificate
	if err == nil {
		loaded, err = c.load()
	}
	if err != nil {
		if trouble := err.Error(); trouble != c.trouble {
			c.trouble = trouble
			c.log.Warn("kept the old certificate", "cert_file", c.certFile, "not_after", c.current.Leaf.NotAfter, "err", err)
		}
		return
	}
	c.current, c.seen, c.trouble = loaded, seen, ""
	c.log.Info("loaded a new certificate", "cert_file", c.certFile, "not_after", loaded.Leaf.NotAfter)
}

func (c *Certificate) load() (*tls.Certificate, error) {
	certificate, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return nil, fmt.Errorf("loading certificate %q with key %q: %w", c.certFile, c.keyFile, err)
	}
	return &certificate, nil
}

func (c *Certificate) stat() (infos [2]os.FileInfo, err error) {
	for i, name := range []string{c.certFile, c.keyFile} {
		if infos[i], err = os.Stat(name); err != nil {
			return infos, fmt.Errorf("looking at certificate files: %w", err)
		}
	}
	return infos, nil
}

func same(a, b [2]os.FileInfo) bool {
	for i := range a {
		if !os.SameFile(a[i], b[i]) || !a[i].ModTime().Equal(b[i].ModTime()) || a[i].Size() != b[i].Size() {
			return false
		}
	}
	return true
}
