package plugins

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"aead.dev/minisign"
)

// SignatureSuffix is what the name of a signature adds to its archive's.
const SignatureSuffix = ".minisig"

// maxSignature bounds a signature's file, in octets.
const maxSignature = 4096

// Errors of signatures.
var (
	// ErrSignature: the signature does not belong to these octets.
	ErrSignature = errors.New("the signature does not fit: the archive was changed, or signed with another key")
	// ErrUnsigned: there is no signature.
	ErrUnsigned = errors.New("it is not signed")
	// ErrUntrusted: it is signed with a key that is not pinned.
	ErrUntrusted = errors.New("its key is not pinned under [trust]")
)

// NewKey makes a key pair in minisign's form, without a password: the secret
// key's file and the public key as [trust] takes it.
func NewKey() (secret []byte, public string, err error) {
	pub, key, err := minisign.GenerateKey(nil)
	if err != nil {
		return nil, "", err
	}
	if secret, err = key.MarshalText(); err != nil {
		return nil, "", err
	}
	return append(secret, '\n'), pub.String(), nil
}

// KeyNeedsPassword reports whether a secret key is encrypted.
func KeyNeedsPassword(secret []byte) bool { return minisign.IsEncrypted(secret) }

// Sign is a minisign signature of an archive. The name and version of the
// bundle stand in its trusted comment. An encrypted key takes a second or two
// and a GiB of memory to open.
func Sign(archive, secret []byte, password, title string) ([]byte, error) {
	var key minisign.PrivateKey
	var err error
	if minisign.IsEncrypted(secret) {
		key, err = minisign.DecryptKey(password, secret)
	} else {
		err = key.UnmarshalText(secret)
	}
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	return minisign.SignWithComments(key, archive, title, "signature of a Carteiro bundle"), nil
}

// PublicKey reads a public key: its text as minisign prints it, or a file of
// minisign's with that.
func PublicKey(text string) (string, error) {
	var key minisign.PublicKey
	err := key.UnmarshalText([]byte(text))
	if err != nil {
		raw, readErr := os.ReadFile(text)
		if readErr != nil {
			return "", fmt.Errorf("%q is neither a minisign public key nor a file with one", text)
		}
		if err = key.UnmarshalText(raw); err != nil {
			return "", fmt.Errorf("%s: %w", text, err)
		}
	}
	return key.String(), nil
}

// Verify finds the publishers whose pinned key signed the archive, in the order
// of their names. trust holds public keys by publisher, several of them between
// blanks. Errors are ErrUnsigned, ErrUntrusted,
// ErrSignature, or say what is wrong with a text.
func Verify(archive, signature []byte, trust map[string]string) (publishers []string, err error) {
	if len(signature) == 0 {
		return nil, ErrUnsigned
	}
	var sig minisign.Signature
	if err := sig.UnmarshalText(signature); err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrSignature, err)
	}
	for _, publisher := range slices.Sorted(maps.Keys(trust)) {
		for text := range strings.FieldsSeq(trust[publisher]) {
			var key minisign.PublicKey
			if err := key.UnmarshalText([]byte(text)); err != nil {
				return nil, fmt.Errorf("trust.%s: %w", publisher, err)
			}
			if key.ID() != sig.KeyID {
				continue
			}
			if !minisign.Verify(key, archive, signature) {
				return nil, ErrSignature
			}
			publishers = append(publishers, publisher)
		}
	}
	if len(publishers) == 0 {
		return nil, fmt.Errorf("%w: key %016X", ErrUntrusted, sig.KeyID)
	}
	return publishers, nil
}

// Open verifies and unpacks an archive. With unsigned, an archive without a
// signature is taken; a signature that is there is verified all the same.
func Open(archive, signature []byte, label string, trust map[string]string, unsigned bool) (*Tree, error) {
	publishers, err := Verify(archive, signature, trust)
	if errors.Is(err, ErrUnsigned) && unsigned {
		return Unpack(archive, label)
	}
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrBundle, label, err)
	}
	t, err := Unpack(archive, label)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(publishers, t.Manifest.Publisher()) {
		return nil, fmt.Errorf("%w %s: %s is signed with the key of %s, which is not its publisher", ErrBundle, label, t.Title(),
			strings.Join(publishers, " and "))
	}
	return t, nil
}

// ReadArchive reads an archive's file and its signature, nil where there is
// none. It reads no more than an archive may have.
func ReadArchive(path string) (archive, signature []byte, err error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, nil, fmt.Errorf("%w %s: %w", ErrBundle, path, err)
	}
	if st.Size() > maxArchive {
		return nil, nil, fmt.Errorf("%w %s: the archive is larger than %d MiB", ErrBundle, path, maxArchive>>20)
	}
	if archive, err = os.ReadFile(path); err != nil {
		return nil, nil, fmt.Errorf("%w %s: %w", ErrBundle, path, err)
	}
	signature, err = os.ReadFile(path + SignatureSuffix)
	if errors.Is(err, os.ErrNotExist) {
		return archive, nil, nil
	}
	if err == nil && len(signature) > maxSignature {
		err = fmt.Errorf("it has more than %d octets", maxSignature)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w %s: the signature cannot be read: %w", ErrBundle, path+SignatureSuffix, err)
	}
	return archive, signature, nil
}

// IsArchive reports whether a path has the name of an archive.
func IsArchive(path string) bool { return strings.HasSuffix(path, Suffix) }
