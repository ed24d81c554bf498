package netline

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
)

// Binding is the channel binding of a kind, nil where there is none:
// "tls-exporter" (RFC 9266) or "tls-server-end-point" (RFC 5929). The latter
// names the certificate that the server would show now, which differs from
// the one shown only where it was exchanged since the handshake.
func (c *Conn) Binding(kind string) []byte {
	tc, ok := c.nc.(*tls.Conn)
	if !ok {
		return nil
	}
	state := tc.ConnectionState()
	switch kind {
	case "tls-exporter":
		if data, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32); err == nil {
			return data
		}
	case "tls-server-end-point":
		if leaf := serverLeaf(c.config, state.ServerName); leaf != nil {
			return endPoint(leaf)
		}
	}
	return nil
}

func serverLeaf(cfg *tls.Config, name string) *x509.Certificate {
	var cert *tls.Certificate
	switch {
	case cfg == nil:
	case cfg.GetCertificate != nil:
		cert, _ = cfg.GetCertificate(&tls.ClientHelloInfo{ServerName: name}) // none: no binding
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
// SHA-256 (RFC 5929 section 4.1); a signature without one has no binding.
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
