package plugins

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Limits on archives as they come.
const (
	maxArchive = 16 << 20 // octets, compressed
	maxWindow  = 8 << 20  // of the decompression
)

// Suffix is what the names of archives end in.
const Suffix = ".tar.zst"

// ArchiveName is the name of a tree's archive, "vacation-1.4.2.tar.zst".
func (t *Tree) ArchiveName() string {
	_, name, _ := strings.Cut(t.Manifest.Bundle.Name, "/")
	return name + "-" + t.Manifest.Bundle.Version + Suffix
}

// Pack writes a tree as an archive. The same files give the same octets:
// names are sorted, times, owners and modes are always the same.
func Pack(t *Tree) ([]byte, error) {
	var out bytes.Buffer
	z, err := zstd.NewWriter(&out, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(maxWindow), zstd.WithEncoderCRC(true))
	if err != nil {
		return nil, err
	}
	w := tar.NewWriter(z)
	for _, path := range slices.Sorted(maps.Keys(t.Files)) {
		h := &tar.Header{
			Typeflag: tar.TypeReg,
			Name:     path,
			Size:     int64(len(t.Files[path])),
			Mode:     0o644,
			ModTime:  time.Unix(0, 0),
			Format:   tar.FormatPAX,
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(t.Files[path]); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	if out.Len() > maxArchive {
		return nil, fmt.Errorf("%w %s: its archive is larger than %d MiB", ErrBundle, t.Label, maxArchive>>20)
	}
	return out.Bytes(), nil
}

// Unpack reads an archive into memory; nothing is written to disk. Plain
// files inside of the bundle are all that it may hold. It uses at most the
// memory of the limits above, even if the archive claims other sizes.
func Unpack(archive []byte, label string) (*Tree, error) {
	b := &treeBuilder{files: map[string][]byte{}, folded: map[string]kind{}}
	if err := b.unpack(archive); err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrBundle, label, err)
	}
	return b.tree(label)
}

var errBomb = errors.New("the archive unpacks to more than a bundle may hold")

func (b *treeBuilder) unpack(archive []byte) error {
	if len(archive) > maxArchive {
		return fmt.Errorf("the archive is larger than %d MiB", maxArchive>>20)
	}
	z, err := zstd.NewReader(bytes.NewReader(archive), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow),
		zstd.WithDecoderMaxMemory(maxTotal*2))
	if err != nil {
		return err
	}
	defer z.Close()
	return b.untar(z)
}

// untar takes the files of a tar stream.
func (b *treeBuilder) untar(stream io.Reader) error {
	// Headers and padding take at most two blocks and names a file.
	limited := &limitedReader{r: stream, left: maxTotal + maxFiles*4096}
	r := tar.NewReader(limited)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return archiveError(err)
		}
		switch h.Typeflag {
		case tar.TypeReg:
		case tar.TypeDir:
			if name := strings.TrimSuffix(h.Name, "/"); name != "." && !safePath(name) {
				return fmt.Errorf("%q is not the name of a folder inside a bundle", h.Name)
			}
			continue
		case tar.TypeSymlink, tar.TypeLink:
			return fmt.Errorf("%q is a link; a bundle holds plain files only", h.Name)
		default:
			return fmt.Errorf("%q is a device or of another kind; a bundle holds plain files only", h.Name)
		}
		if err := b.room(h.Name, h.Size); err != nil {
			return err
		}
		content, err := io.ReadAll(io.LimitReader(r, maxFile+1))
		if err != nil {
			return archiveError(err)
		}
		if err := b.add(h.Name, content); err != nil {
			return err
		}
	}
	// What follows the end would be signed, but never seen.
	rest, err := io.ReadAll(limited)
	if err != nil {
		return archiveError(err)
	}
	if len(bytes.Trim(rest, "\x00")) > 0 {
		return errors.New("something follows the end of the archive")
	}
	return nil
}

func archiveError(err error) error {
	if errors.Is(err, errBomb) || errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
		return errBomb
	}
	return fmt.Errorf("the archive is damaged: %w", err)
}

// limitedReader ends a stream that is longer than allowed with an error.
type limitedReader struct {
	r    io.Reader
	left int64
}

func (b *limitedReader) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errBomb
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
