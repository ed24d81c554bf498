// Package importer reads files of other programs: members of mailing lists
// (Mailman, mlmmj), tables of aliases (Postfix), and messages (mbox, Maildir,
// archives). It changes nothing.
package importer

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/ulikunitz/xz"

	"carteiro/core/message/mime"
	"carteiro/core/service/spam"
)

// maxMessage is the largest message of an mbox, a folder or an archive, in
// octets: these are read whole.
const maxMessage = 16 << 20

// OpenError is that of a file that the caller named and that cannot be opened.
type OpenError struct{ error }

// Unwrap returns the error of the file system.
func (e OpenError) Unwrap() error { return e.error }

// EachFeatures calls f with the features of each message that EachMessage
// finds, nil for one that is too complex. A file that is one message is read as
// a stream.
func EachFeatures(name string, stdin io.Reader, f func(name string, m *spam.Features) error) error {
	m, err := fileMessage(name)
	if err != nil {
		return err
	}
	pass := func(name string, m *spam.Features, err error) error {
		if err != nil && !errors.Is(err, spam.ErrTooComplex) {
			return err
		}
		return f(name, m)
	}
	if m.Body != nil {
		features, err := spam.Extract(m)
		return pass(filepath.Base(name), features, err)
	}
	return EachMessage(name, stdin, func(name string, raw []byte) error {
		if raw == nil {
			return f(name, nil)
		}
		features, err := spam.Extract(spam.Read(raw))
		return pass(name, features, err)
	})
}

// fileMessage opens a file that is one message; Body is nil if name is anything
// else.
func fileMessage(name string) (m spam.Message, err error) {
	info, err := os.Stat(name)
	if err != nil || !info.Mode().IsRegular() || archive.MatchString(name) {
		return m, nil // EachMessage returns the error
	}
	file, err := os.Open(name)
	if err != nil {
		return m, OpenError{err}
	}
	defer file.Close()
	r := bufio.NewReader(file)
	if start, _ := r.Peek(5); string(start) == "From " {
		return m, nil
	}
	section, err := mime.ReadHeader(r, mime.MaxHeader)
	if errors.Is(err, mime.ErrHeaderTooLarge) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	return spam.Message{Header: mime.ParseHeader(section), Body: func() (io.ReadCloser, error) {
		body, err := os.Open(name)
		if err == nil {
			_, err = body.Seek(int64(len(section)), io.SeekStart)
		}
		return body, err
	}}, nil
}

var archive = regexp.MustCompile(`\.(tar|tar\.xz|txz|tar\.gz|tgz)$`)

// EachMessage calls f with each message of a file, an mbox, a folder such as a
// Maildir, an archive of one message a file, or with "-" of standard input.
// raw is nil for a message that is too large; f may keep it.
func EachMessage(name string, stdin io.Reader, f func(name string, raw []byte) error) error {
	if name == "-" {
		return mboxMessages("-", stdin, f)
	}
	info, err := os.Stat(name)
	if err != nil {
		return OpenError{err}
	}
	if info.IsDir() {
		return folderMessages(name, f)
	}
	file, err := os.Open(name)
	if err != nil {
		return OpenError{err}
	}
	defer file.Close()
	var r io.Reader = bufio.NewReaderSize(file, 1<<20)
	switch {
	case strings.HasSuffix(name, ".tar.xz"), strings.HasSuffix(name, ".txz"):
		r, err = xz.NewReader(r)
	case strings.HasSuffix(name, ".tar.gz"), strings.HasSuffix(name, ".tgz"):
		r, err = gzip.NewReader(r)
	case strings.HasSuffix(name, ".tar"):
	default:
		return mboxMessages(filepath.Base(name), file, f)
	}
	if err != nil {
		return err
	}
	return archiveMessages(r, f)
}

// wholeMessage reads one message, nil where it is too large.
func wholeMessage(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxMessage+1))
	if len(b) > maxMessage {
		b = nil
	}
	return b, err
}

// archiveMessages reads a tar archive of one message a file.
func archiveMessages(r io.Reader, f func(name string, raw []byte) error) error {
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg || strings.HasPrefix(path.Base(h.Name), ".") {
			continue
		}
		b, err := wholeMessage(t)
		if err == nil {
			err = f(path.Base(h.Name), b)
		}
		if err != nil {
			return err
		}
	}
}

// folderMessages reads all files below a folder, except the tmp folder of a
// Maildir and names that begin with a dot.
func folderMessages(root string, f func(name string, raw []byte) error) error {
	return filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && p != root && d.Name() == "tmp":
			return filepath.SkipDir
		case !d.Type().IsRegular() || strings.HasPrefix(d.Name(), "."):
			return nil
		}
		file, err := os.Open(p)
		if err != nil {
			return err
		}
		defer file.Close()
		b, err := wholeMessage(file)
		if err != nil {
			return err
		}
		return f(d.Name(), b)
	})
}

// separator is the line in front of each message of an mbox: "From", who, and
// the time as ctime writes it.
var separator = regexp.MustCompile(`^From \S+ .*\d\d:\d\d.* \d{4}\s*$`)

// mboxMessages splits at separators that follow a blank line; a file without
// them is one message.
func mboxMessages(name string, in io.Reader, f func(name string, raw []byte) error) error {
	r := bufio.NewReaderSize(in, 64<<10)
	var message []byte
	begun, large, blank := false, false, true
	flush := func() error {
		if !begun {
			return nil
		}
		if large {
			message = nil
		}
		err := f(name, message)
		message, begun, large = nil, false, false
		return err
	}
	whole := true // the line before was read to its end
	for {
		line, err := r.ReadSlice('\n')
		if len(line) > 0 {
			if whole && blank && begun && bytes.HasPrefix(line, []byte("From ")) && separator.Match(line) {
				if err := flush(); err != nil {
					return err
				}
			}
			begun = true
			if large = large || len(message)+len(line) > maxMessage; large {
				message = message[:0]
			} else {
				message = append(message, line...)
			}
			blank = whole && len(bytes.TrimRight(line, "\r\n")) == 0
			whole = line[len(line)-1] == '\n'
		}
		if errors.Is(err, io.EOF) {
			return flush()
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}
