package admin

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"carteiro/core/message/envelope"
	"carteiro/core/store"
)

// Mbox writes a folder as mbox, in the order of arrival: lines that begin with
// "From " behind any number of ">" get one more (mboxrd), lines end in LF. It
// reads one message at a time and blocks on the disk. Errors of w are
// returned as they are.
func Mbox(ctx context.Context, boxes store.Mailboxes, owner envelope.Address, folder string, w io.Writer) error {
	info, err := boxes.Mailbox(ctx, owner, folder)
	if err != nil {
		return err
	}
	var items []store.Item // first, since a walk must not hold its snapshot for long
	for it, err := range boxes.Items(ctx, info.ID) {
		if err != nil {
			return err
		}
		items = append(items, it)
	}
	out := bufio.NewWriter(w)
	for _, it := range items {
		r, err := boxes.Open(ctx, info.ID, it.UID)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		err = mboxMessage(out, r, it.Date)
		r.Close()
		if err != nil {
			return err
		}
	}
	return out.Flush()
}

// mboxMessage writes one message; its sender is that of its Return-Path.
func mboxMessage(w *bufio.Writer, r io.Reader, at time.Time) error {
	in := bufio.NewReaderSize(r, 64<<10)
	sender := "MAILER-DAEMON"
	if first, _ := in.Peek(300); bytes.HasPrefix(first, []byte("Return-Path: <")) {
		if a, _, ok := strings.Cut(string(first[len("Return-Path: <"):]), ">"); ok && a != "" && !strings.ContainsAny(a, " \r\n") {
			sender = a
		}
	}
	fmt.Fprintf(w, "From %s %s\n", sender, at.UTC().Format(time.ANSIC))
	for begins := true; ; {
		line, err := in.ReadSlice('\n')
		if begins && bytes.HasPrefix(bytes.TrimLeft(line, ">"), []byte("From ")) {
			w.WriteByte('>')
		}
		begins = !errors.Is(err, bufio.ErrBufferFull)
		if n := len(line); n > 1 && line[n-1] == '\n' && line[n-2] == '\r' {
			line = append(line[:n-2], '\n')
		}
		w.Write(line)
		if errors.Is(err, io.EOF) {
			return w.WriteByte('\n')
		}
		if err != nil && begins {
			return err
		}
	}
}

// serveMbox streams a folder as mbox.
func (s *Service) serveMbox(w http.ResponseWriter, r *http.Request) {
	owner, err := parseAddress(r.URL.Query().Get("owner"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	w.Header().Set("Content-Type", "application/mbox")
	if err := Mbox(r.Context(), s.Store, owner.Base(), store.Inbox, w); err != nil && r.Context().Err() == nil {
		s.Journal.ErrorContext(r.Context(), "export", "owner", string(owner), "err", err)
		panic(http.ErrAbortHandler) // so that the reader sees that it ended early
	}
}

// Mbox copies what owner has in its default folder to w.
func (c *Client) Mbox(ctx context.Context, owner string, w io.Writer) error {
	body, err := c.stream(ctx, "mbox?owner="+url.QueryEscape(owner))
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(w, body)
	return err
}
