package smtpout

import (
	"bufio"
	"errors"
	"io"
	"strings"

	"carteiro/core/message/envelope"
)

// maxHeader is how much of a message is looked at for its header section.
const maxHeader = 1 << 20

// refuseUnsupported settles the recipients that a host cannot handle, given its
// extensions, and returns how to name the others.
func (a *attempt) refuseUnsupported(c *conn) envelopeParams {
	w := envelopeParams{ext: c.ext}
	refuse := func(code int, enhanced, text string, rcpts ...int) {
		a.settle(envelope.Outcome{Status: *envelope.Reject(code, enhanced, text), Host: c.host.Name, TLS: c.tls}, rcpts...)
	}
	if m := c.ext.maxSize(); m > 0 && a.t.Size > m {
		refuse(552, "5.3.4", "message is larger than host "+c.host.Name+" takes", a.openRcpts()...)
	}
	if a.t.EightBit && !c.ext.has("8BITMIME") {
		refuse(554, "5.6.3", "message needs 8BITMIME, which host "+c.host.Name+" does not offer", a.openRcpts()...)
	}
	if w.isLate(&a.t, a.client.cfg.Now()) {
		refuse(554, "5.4.7", "the time limit for delivery is over", a.openRcpts()...)
	}
	if hasControl(a.t.Sender) {
		refuse(553, "5.1.7", "sender's address is not valid", a.openRcpts()...)
	}
	ascii := a.t.Sender.ASCII() && !a.t.SMTPUTF8
	for _, i := range a.openRcpts() {
		to := a.t.Recipients[i].Address
		if hasControl(to) || to == "" {
			refuse(553, "5.1.3", "recipient's address is not valid", i)
		}
		ascii = ascii && to.ASCII()
	}
	if ascii {
		return w
	}
	w.utf8 = c.ext.has("SMTPUTF8")
	if !w.utf8 {
		a.refuseWithoutUTF8(refuse, c.host.Name)
	}
	return w
}

// refuseWithoutUTF8 settles the recipients that a host without SMTPUTF8 cannot
// handle (RFC 6531 3.2). A domain has an ASCII form, a local part does not; and
// a message that came with SMTPUTF8 may not have used it.
func (a *attempt) refuseWithoutUTF8(refuse func(code int, enhanced, text string, rcpts ...int), host string) {
	text := "SMTPUTF8 is needed, which host " + host + " does not offer"
	if _, ok := downgrade(a.t.Sender); !ok {
		refuse(550, "5.6.7", text, a.openRcpts()...)
	}
	for _, i := range a.openRcpts() {
		if _, ok := downgrade(a.t.Recipients[i].Address); !ok {
			refuse(550, "5.6.7", text, i)
		}
	}
	if !a.t.SMTPUTF8 || len(a.openRcpts()) == 0 {
		return
	}
	ascii, err := a.headerASCII()
	if err != nil {
		a.settle(envelope.Outcome{Status: *unreadableStatus(err)}, a.openRcpts()...)
	} else if !ascii {
		refuse(550, "5.6.7", text, a.openRcpts()...)
	}
}

func unreadableStatus(err error) *envelope.Status {
	return envelope.Defer(451, "4.3.0", "message cannot be read now", err)
}

func hasControl(a envelope.Address) bool {
	return strings.ContainsFunc(string(a), func(r rune) bool { return r < ' ' || r == 0x7f })
}

// headerASCII looks into the header section, once.
func (a *attempt) headerASCII() (bool, error) {
	if a.header != nil {
		return *a.header, nil
	}
	body, err := a.t.Open()
	if err != nil {
		return false, err
	}
	defer body.Close()
	ascii, err := headerASCII(bufio.NewReader(io.LimitReader(body, maxHeader)))
	if err == nil {
		a.header = &ascii
	}
	return ascii, err
}

func headerASCII(r *bufio.Reader) (bool, error) {
	for start := true; ; {
		line, err := r.ReadSlice('\n')
		for _, b := range line {
			if b >= 0x80 {
				return false, nil
			}
		}
		switch {
		case err == io.EOF, start && string(line) == "\r\n":
			return true, nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return false, err
		}
		start = err == nil
	}
}
