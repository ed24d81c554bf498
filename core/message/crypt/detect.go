package crypt

import (
	"bytes"
	"io"
	"strings"

	"carteiro/core/message/mime"
)

// Examine returns why a message must not be encrypted: ErrEncrypted, ErrReport,
// or nil. index is of that message's body, which open reads. It reads only the
// beginning of parts. Errors of open are returned unchanged.
//
// A message is encrypted if all of its content is: PGP/MIME and S/MIME as a
// whole say so; without them each part with content has to be a message in
// OpenPGP's armour.
func Examine(index *mime.Index, open func() (io.ReadCloser, error)) error {
	root := index.Parts[0]
	switch root.Type {
	case "multipart/encrypted":
		return ErrEncrypted
	case "multipart/report":
		if strings.EqualFold(root.Param("report-type"), "delivery-status") {
			return ErrReport
		}
		return nil
	case "application/pkcs7-mime", "application/x-pkcs7-mime":
		return examineSMIME(root, open)
	}
	if index.TooComplex {
		return nil
	}
	leaves := 0
	found := false
	for _, p := range index.Parts {
		if !p.Leaf() {
			continue
		}
		if leaves++; leaves > maxLeaves {
			return nil
		}
		begin, err := beginning(p, open)
		if err != nil {
			return err
		}
		begin = bytes.TrimLeft(begin, " \t\r\n")
		if len(begin) == 0 {
			continue
		}
		if !bytes.HasPrefix(begin, []byte("-----BEGIN "+pgpMessage+"-----")) {
			return nil
		}
		found = true
	}
	if found {
		return ErrEncrypted
	}
	return nil
}

// Types of CMS content that are encrypted (RFC 5652 6.1, RFC 5083 2.1), as DER.
var encryptedTypes = [][]byte{
	{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x03},
	{0x06, 0x0b, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01, 0x17},
}

// examineSMIME distinguishes encrypted parts from signed ones, which have the same type:
// by the parameter smime-type, or without it by the content.
func examineSMIME(p mime.Part, open func() (io.ReadCloser, error)) error {
	switch strings.ToLower(p.Param("smime-type")) {
	case "enveloped-data", "authenveloped-data":
		return ErrEncrypted
	case "":
	default:
		return nil
	}
	begin, err := beginning(p, open)
	if err != nil {
		return err
	}
	for _, oid := range encryptedTypes {
		// In front of it are the tag and length of the sequence, at most six octets.
		if i := bytes.Index(begin, oid); i >= 0 && i <= 6 {
			return ErrEncrypted
		}
	}
	return nil
}

// maxLeaves is how many parts are looked at: the body is read anew for each.
const maxLeaves = 20

// looked is how much of a part is looked at, in octets.
const looked = 512

// beginning returns the first of a part's content, its transfer encoding undone.
func beginning(p mime.Part, open func() (io.ReadCloser, error)) ([]byte, error) {
	body, err := open()
	if err != nil {
		return nil, err
	}
	defer body.Close()
	r, err := p.Open(body)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, looked))
}
