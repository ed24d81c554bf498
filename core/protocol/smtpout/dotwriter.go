package smtpout

import (
	"bufio"
	"bytes"
	"io"
	"sync"
)

// dotWriter writes a message as the content of DATA (RFC 5321 4.5.2): a dot in
// front of a line gets another, a last line without CRLF gets one. A bare CR
// or LF, which must not be sent (RFC 5321 2.3.8), becomes CRLF before dots
// are looked for: so no peer, however it ends lines, sees the end of the
// content early.
type dotWriter struct {
	w    *bufio.Writer
	bol  bool  // at the start of a line
	cr   bool  // a CR came last and is not written yet
	size int64 // octets of the message
}

const chunkSize = 32 << 10

var bufferPool = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// copy writes all of r. Errors of r are readErrors.
func (d *dotWriter) copy(r io.Reader) error {
	buf := bufferPool.Get().(*[chunkSize]byte)
	defer bufferPool.Put(buf)
	for {
		n, err := r.Read(buf[:])
		d.size += int64(n)
		if werr := d.write(buf[:n]); werr != nil {
			return werr
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return readError{err}
		}
	}
}

func (d *dotWriter) write(p []byte) error {
	if d.cr && len(p) > 0 {
		d.cr = false
		if p[0] == '\n' {
			p = p[1:]
		}
		if err := d.newline(); err != nil {
			return err
		}
	}
	if n := len(p); n > 0 && p[n-1] == '\r' {
		d.cr = true
		p = p[:n-1]
	}
	if len(p) == 0 {
		return nil
	}
	if hasOnlyCRLF(p) {
		return d.writeLines(p)
	}
	return d.writeRepaired(p)
}

func (d *dotWriter) newline() error {
	d.bol = true
	_, err := d.w.WriteString("\r\n")
	return err
}

// writeLines writes octets in which every CR and LF is part of a CRLF.
func (d *dotWriter) writeLines(p []byte) error {
	if d.bol && p[0] == '.' {
		if err := d.w.WriteByte('.'); err != nil {
			return err
		}
	}
	d.bol = p[len(p)-1] == '\n'
	for {
		i := bytes.Index(p, []byte("\n."))
		if i < 0 {
			_, err := d.w.Write(p)
			return err
		}
		if _, err := d.w.Write(p[:i+2]); err != nil {
			return err
		}
		if err := d.w.WriteByte('.'); err != nil {
			return err
		}
		p = p[i+2:]
	}
}

// writeRepaired is lines for octets that are not clean.
func (d *dotWriter) writeRepaired(p []byte) error {
	for i := 0; i < len(p); {
		end := bytes.IndexAny(p[i:], "\r\n")
		if end < 0 {
			return d.writeLines(p[i:])
		}
		if end > 0 {
			if err := d.writeLines(p[i : i+end]); err != nil {
				return err
			}
		}
		i += end
		if p[i] == '\r' && i+1 < len(p) && p[i+1] == '\n' {
			i++
		}
		i++
		if err := d.newline(); err != nil {
			return err
		}
	}
	return nil
}

// finish ends the last line.
func (d *dotWriter) finish() error {
	if d.cr || !d.bol {
		d.cr = false
		return d.newline()
	}
	return nil
}

// hasOnlyCRLF reports whether every CR and LF of p is part of a CRLF within p.
func hasOnlyCRLF(p []byte) bool {
	n := bytes.Count(p, []byte("\r\n"))
	return bytes.Count(p, []byte{'\n'}) == n && bytes.Count(p, []byte{'\r'}) == n
}
