package smtpin

import (
	"strconv"

	"carteiro/core/message/envelope"
	"carteiro/core/message/printable"
)

// reply writes a status as one line. It returns errQuit when the session ends
// with it: 221, 421 and Status.Close.
func (s *connection) reply(st *envelope.Status) error {
	s.write(st, st.Text, ' ')
	if st.Code == 421 || st.Code == 221 || st.Close {
		return errQuit
	}
	return nil
}

func (s *connection) write(st *envelope.Status, text string, sep byte) {
	code, enhanced := st.Code, st.Enhanced
	if code < 200 || code > 599 {
		code, enhanced = 451, "4.3.0"
	}
	if s.recording {
		s.recordReply(code, text)
	}
	w := s.c.Writer()
	w.WriteString(strconv.Itoa(code)) // an error of the writer stays and meets the next flush
	w.WriteByte(sep)
	if code/100 != 3 && st.Code != 220 && !(code == 250 && enhanced == "") {
		if !envelope.ValidEnhanced(enhanced) || enhanced[0] != byte('0'+code/100) {
			enhanced = string(rune('0'+code/100)) + ".0.0"
		}
		w.WriteString(enhanced)
		w.WriteByte(' ')
	}
	w.WriteString(printable.Reply(text, s.tx != nil && s.tx.Params.SMTPUTF8))
	w.WriteString("\r\n")
}

// recordReply keeps the reply for the watcher of the dialogue.
func (s *connection) recordReply(code int, text string) {
	if s.recorded != "" {
		s.recorded += " | " + text
		return
	}
	s.recorded = strconv.Itoa(code) + " " + text
}

// watcher returns the function that watches the dialogue, or nil.
func (s *connection) watcher() func(*envelope.Session, string, *envelope.Status) {
	if f := s.cfg.Observe.Dialogue; f != nil {
		return f()
	}
	return nil
}

// multilineReply writes a reply of several lines without enhanced codes, as
// EHLO's is.
func (s *connection) multilineReply(code int, texts ...string) {
	for i, t := range texts {
		sep := byte('-')
		if i == len(texts)-1 {
			sep = ' '
		}
		s.write(&envelope.Status{Code: code}, t, sep)
	}
}

// protocolError returns a refusal that counts as an error of the client.
// Refusals by the backend do not: a list with dead addresses is no attack.
func (s *connection) protocolError(code int, enhanced, text string) *envelope.Status {
	s.errors++
	if s.errors > s.cfg.MaxErrors {
		s.log.Info("session ended by a limit", "reason", "errors", "last", printable.Quote(text))
		return envelope.Reject(421, "4.7.0", "Too many errors, closing")
	}
	return envelope.Reject(code, enhanced, text)
}

func ok(code int, enhanced, text string) *envelope.Status {
	return &envelope.Status{Code: code, Enhanced: enhanced, Text: text}
}

// backendReply returns the reply to a verb for a status of the backend: a refusal as it
// is, and any code below 400 as success with the usual code.
func backendReply(st, usual *envelope.Status) (reply *envelope.Status, accepted bool) {
	if st == nil {
		return usual, true
	}
	if st.Code >= 400 || st.Code < 200 {
		return st, false
	}
	r := *st
	r.Code = usual.Code
	if r.Enhanced == "" {
		r.Enhanced = usual.Enhanced
	}
	if r.Text == "" {
		r.Text = usual.Text
	}
	return &r, true
}
