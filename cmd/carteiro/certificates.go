package main

import (
	"crypto/tls"
	"sync/atomic"

	"carteiro/core/ops/config"
)

// certificates are what the server shows; a reload exchanges them for new
// connections.
type certificates struct {
	files   config.TLS
	current atomic.Pointer[tls.Certificate]
}

// loadCertificates reads the files; nil when none are set.
func loadCertificates(files config.TLS) (*certificates, error) {
	if files.Cert == "" {
		return nil, nil
	}
	c := &certificates{files: files}
	commit, err := c.prepare()
	if err == nil {
		commit()
	}
	return c, err
}

// prepare reads the files anew; only commit exchanges the certificate.
func (c *certificates) prepare() (commit func(), err error) {
	cert, err := tls.LoadX509KeyPair(c.files.Cert, c.files.Key)
	if err != nil {
		return nil, usage("tls.cert %s: %w", c.files.Cert, err)
	}
	return func() { c.current.Store(&cert) }, nil
}

func (c *certificates) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return c.current.Load(), nil
	}}
}
