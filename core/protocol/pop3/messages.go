package pop3

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"carteiro/core/store"
)

func (s *session) STAT() bool {
	return s.ok(fmt.Sprintf("%d %d", s.drop.count, s.drop.octets))
}

func (s *session) RSET() bool {
	s.drop.reset()
	return s.ok(s.drop.describe("maildrop has "))
}

// loadTable loads the messages; a refusal is written.
func (s *session) loadTable(ctx context.Context) bool {
	if err := s.drop.load(ctx, s.boxes); err != nil {
		s.log.Error("maildrop cannot be read", "err", err)
		return s.err("[SYS/TEMP] the maildrop cannot be read, try later")
	}
	return true
}

func (s *session) LIST(ctx context.Context, cmd command) bool {
	return s.listing(ctx, cmd, func(b []byte, e entry) []byte { return strconv.AppendInt(b, e.size, 10) })
}

// UIDL gives "<uidvalidity>.<uid>": never reused, and new when the folder is.
func (s *session) UIDL(ctx context.Context, cmd command) bool {
	return s.listing(ctx, cmd, func(b []byte, e entry) []byte {
		b = strconv.AppendUint(b, uint64(s.drop.info.UIDValidity), 10)
		return strconv.AppendUint(append(b, '.'), uint64(e.uid), 10)
	})
}

// listing answers LIST and UIDL, for one message or for all.
func (s *session) listing(ctx context.Context, cmd command, column func([]byte, entry) []byte) bool {
	if !s.loadTable(ctx) {
		return false
	}
	if cmd.hasArg {
		n, found := s.drop.number(cmd.arg)
		if !found {
			return s.protocolError("no such message")
		}
		b := strconv.AppendInt(nil, int64(n), 10)
		return s.ok(string(column(append(b, ' '), s.drop.table[n-1])))
	}
	s.ok(s.drop.describe(""))
	w := s.c.Writer()
	var b []byte
	for i, e := range s.drop.table {
		if !e.deleted {
			b = strconv.AppendInt(b[:0], int64(i+1), 10)
			b = column(append(b, ' '), e)
			w.Write(append(b, '\r', '\n'))
		}
	}
	w.WriteString(".\r\n")
	return true
}

func (s *session) DELE(ctx context.Context, cmd command) bool {
	if !s.loadTable(ctx) {
		return false
	}
	n, found := s.drop.number(cmd.arg)
	switch {
	case !found:
		return s.protocolError("no such message")
	case s.drop.readonly:
		return s.protocolError("[SYS/PERM] you may only read this maildrop")
	}
	s.drop.mark(n)
	return s.ok("message " + strconv.Itoa(n) + " deleted")
}

// QUIT enters the UPDATE state: it removes the marked messages, MaxExpunge in a
// commit. After a crash those whose commit had not happened are still there,
// and the client got no +OK. (RFC 1939 section 6 allows that some are removed,
// but never one that is not marked.)
func (s *session) QUIT(ctx context.Context) bool {
	s.ended = true
	if s.drop.marked == 0 {
		return s.ok(s.farewell())
	}
	for uids := range slices.Chunk(s.drop.markedUIDs(), store.MaxExpunge) {
		if err := s.boxes.Expunge(ctx, s.drop.info.ID, uids); err != nil {
			s.log.Error("deleted messages cannot be removed", "err", err)
			return s.err("[SYS/TEMP] the deleted messages could not be removed")
		}
	}
	if f := s.cfg.Observe.Deleted; f != nil {
		f(s.s.Listener, s.drop.marked)
	}
	return s.ok(s.farewell())
}

// farewell returns the reply to QUIT as RFC 1939 shows it.
func (s *session) farewell() string {
	left := "maildrop empty"
	switch n := s.drop.count; n {
	case 0:
	case 1:
		left = "1 message left"
	default:
		left = strconv.FormatInt(n, 10) + " messages left"
	}
	return s.cfg.Hostname + " POP3 server signing off (" + left + ")"
}

func (s *session) RETR(ctx context.Context, cmd command) bool {
	if !s.loadTable(ctx) {
		return false
	}
	n, found := s.drop.number(cmd.arg)
	if !found {
		return s.protocolError("no such message")
	}
	s.prefetch.next = n + 1
	if s.prefetch.number != n {
		return s.send(ctx, n, s.sizeText(n), -1)
	}
	c, octets := s.prefetch.answer, s.prefetch.octets
	s.prefetch.number, s.prefetch.answer, s.prefetch.misses = 0, nil, 0
	defer s.buffers.put(c)
	return s.finishAnswer(n, octets, c.w.Flush())
}

func (s *session) sizeText(n int) string {
	return strconv.FormatInt(s.drop.table[n-1].size, 10) + " octets"
}

// TOP sends the header section, the blank line, and so many lines of the body.
func (s *session) TOP(ctx context.Context, cmd command) bool {
	if !s.loadTable(ctx) {
		return false
	}
	number, lines, _ := strings.Cut(cmd.arg, " ")
	n, found := s.drop.number(number)
	k, err := strconv.ParseUint(lines, 10, 31)
	switch {
	case err != nil:
		return s.protocolError("syntax: TOP message lines")
	case !found:
		return s.protocolError("no such message")
	}
	return s.send(ctx, n, "top of message follows", int64(k))
}

// send streams message n; body limits the lines after the header section, -1
// is all of them.
func (s *session) send(ctx context.Context, n int, text string, body int64) bool {
	c, octets, err := s.answer(ctx, n, text, body)
	if c == nil {
		return s.readErrorReply(n, err)
	}
	defer s.buffers.put(c)
	if err == nil {
		err = c.w.Flush()
	}
	return s.finishAnswer(n, octets, err)
}

// answer copies "+OK text", message n and the end of the answer into buffers,
// which send what does not fit. It returns nil if nothing was copied. The
// caller flushes the buffers and returns them.
func (s *session) answer(ctx context.Context, n int, text string, body int64) (c *ioBuffers, octets int64, err error) {
	rc, err := s.boxes.Open(ctx, s.drop.info.ID, s.drop.table[n-1].uid)
	if err != nil {
		return nil, 0, err
	}
	defer rc.Close()
	c = s.buffers.get(connWriter{s.c}, rc)
	c.w.WriteString("+OK " + text + "\r\n") // its errors stay and meet the flush
	octets, err = dotStuff(c.w, c.r, body)
	return c, octets, err
}

// finishAnswer ends an answer; octets is the size of the message in it.
func (s *session) finishAnswer(n int, octets int64, err error) bool {
	if f := s.cfg.Observe.Retrieved; f != nil {
		f(s.s.Listener, octets)
	}
	if err != nil {
		// "+OK" is said, and a cut message must not look whole: the only
		// honest end is that of the connection.
		s.log.Error("message cannot be sent whole", "message", n, "err", err)
		s.ended, s.gone = true, true
		return false
	}
	return true
}

func (s *session) readErrorReply(n int, err error) bool {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return s.err("message has been removed")
	case errors.Is(err, store.ErrCorrupt):
		s.log.Error("message is corrupt", "message", n, "err", err)
		return s.err("[SYS/PERM] message cannot be read")
	}
	s.log.Error("message cannot be read", "message", n, "err", err)
	return s.err("[SYS/TEMP] message cannot be read, try later")
}

// dotStuff copies a message with a dot in front of each line that begins with one, and
// writes its end. A line begins after any LF: a client that accepts bare LFs as line ends
// must not see an end too early.
func dotStuff(w *bufio.Writer, r *bufio.Reader, body int64) (octets int64, err error) {
	bol, crlf, header := true, true, true
	var prev byte // the last octet of the piece before
	for body != 0 || header {
		line, err := r.ReadSlice('\n')
		if len(line) > 0 {
			if bol && line[0] == '.' {
				w.WriteByte('.')
			}
			if _, err := w.Write(line); err != nil {
				return octets, err
			}
			octets += int64(len(line))
			blank := bol && (string(line) == "\r\n" || string(line) == "\n")
			bol = line[len(line)-1] == '\n'
			crlf = bol && (len(line) > 1 && line[len(line)-2] == '\r' || len(line) == 1 && prev == '\r')
			prev = line[len(line)-1]
			if !header && bol && body > 0 {
				body--
			}
			header = header && !blank
		}
		if err == io.EOF {
			break
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return octets, err
		}
	}
	if !crlf {
		w.WriteString("\r\n")
	}
	_, err = w.WriteString(".\r\n")
	return octets, err
}
