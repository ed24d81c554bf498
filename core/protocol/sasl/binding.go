package sasl

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
)

// Channel is the connection that a login comes over.
type Channel interface {
	// Encryption returns the state of the TLS connection and the server's
	// configuration of its handshake; nil without encryption.
	Encryption() (*tls.ConnectionState, *tls.Config)
}

func isEncrypted(c Channel) bool {
	state, _ := c.Encryption()
	return state != nil
}

// binding returns the channel binding of a kind, nil if there is none:
// "tls-exporter" (RFC 9266) or "tls-server-end-point" (RFC 5929). The latter
// names the certificate that the server would show now; it differs from the one
// shown only if the certificate was replaced since the handshake.
func binding(c Channel, kind string) []byte {
	state, cfg := c.Encryption()
	if state == nil {
		return nil
	}
	switch kind {
	case "tls-exporter":
		if data, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32); err == nil {
			return data
		}
	case "tls-server-end-point":
		if leaf := serverLeaf(cfg, state.ServerName); leaf != nil {
			return endPoint(leaf)
		}
	}
	return nil
}

// serverLeaf returns the server's certificate for a name, nil if there is none.
func serverLeaf(cfg *tls.Config, name string) *x509.Certificate {
	var cert *tls.Certificate
	switch {
	case cfg == nil:
	case cfg.GetCertificate != nil:
		cert, _ = cfg.GetCertificate(&tls.ClientHelloInfo{ServerName: name}) // without one there is no binding
	case len(cfg.Certificates) > 0:
		cert = &cfg.Certificates[0]
	}
	if cert == nil || len(cert.Certificate) == 0 {
		return nil
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return nil
	}
	return leaf
}

// endPoint hashes a certificate with the hash of its signature, at least
// SHA-256 (RFC 5929 section 4.1). A signature without a hash has no binding.
func endPoint(leaf *x509.Certificate) []byte {
	hash := crypto.SHA256
	switch leaf.SignatureAlgorithm {
	case x509.SHA384WithRSA, x509.ECDSAWithSHA384, x509.SHA384WithRSAPSS:
		hash = crypto.SHA384
	case x509.SHA512WithRSA, x509.ECDSAWithSHA512, x509.SHA512WithRSAPSS:
		hash = crypto.SHA512
	case x509.PureEd25519, x509.UnknownSignatureAlgorithm:
		return nil
	}
	h := hash.New()
	h.Write(leaf.Raw)
	return h.Sum(nil)
}
