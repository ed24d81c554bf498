package smtpout

import (
	"encoding/base64"
	"errors"

	"github.com/emersion/go-sasl"

	"carteiro/core/message/envelope"
)

var mechanisms = [...]string{sasl.Plain, sasl.Login}

// maxChallenges bounds an exchange; LOGIN takes two.
const maxChallenges = 5

// login is AUTH (RFC 4954). A refusal is our own configuration's fault, so it
// is always worth another try after someone has mended that.
func (c *conn) login(m connParams) *envelope.Status {
	var client sasl.Client
	switch c.chooseMechanism() {
	case sasl.Plain:
		client = sasl.NewPlainClient("", m.user, m.password)
	case sasl.Login:
		client = &loginClient{m.user, m.password}
	default:
		return envelope.Defer(451, "4.7.0", "host "+c.host.Name+" offers no supported login mechanism", nil)
	}
	mech, first, err := client.Start()
	if err != nil {
		return envelope.Defer(451, "4.7.0", "login is not possible", err)
	}
	line := "AUTH " + mech
	if first != nil {
		line += " " + base64.StdEncoding.EncodeToString(first)
	}
	rep, err := c.askSecret(line, "AUTH "+mech+" (hidden)")
	for range maxChallenges {
		if err != nil || rep.code != 334 {
			break
		}
		rep, err = c.respond(client, rep)
	}
	switch {
	case err != nil:
		return c.lost("AUTH", err)
	case rep.code == 235:
		return nil
	case !rep.isRefusal():
		return envelope.Defer(451, "4.5.0", "unexpected reply to AUTH", nil)
	}
	return makeTransient(rep.status())
}

// loginClient answers the first challenge with the name and the second with the password.
// It ignores the text of the challenges, because servers differ in it, and in whether
// they accept the name with AUTH.
type loginClient [2]string

func (l *loginClient) Start() (string, []byte, error) { return sasl.Login, nil, nil }

func (l *loginClient) Next([]byte) ([]byte, error) {
	answer := l[0]
	if answer == "" {
		return nil, sasl.ErrUnexpectedServerChallenge
	}
	l[0], l[1] = l[1], ""
	return []byte(answer), nil
}

func (c *conn) respond(client sasl.Client, rep reply) (reply, error) {
	challenge, err := base64.StdEncoding.DecodeString(rep.lines[0])
	if err != nil {
		return reply{}, errors.Join(errGarbage, err)
	}
	response, err := client.Next(challenge)
	if err != nil {
		return c.ask("*", c.cfg.Timeouts.Greeting) // cancels (RFC 4954 4)
	}
	return c.askSecret(base64.StdEncoding.EncodeToString(response), "(hidden)")
}

// askSecret is ask for a line that traces must not show.
func (c *conn) askSecret(line, shown string) (reply, error) {
	c.trace("> ", shown)
	c.w.WriteString(line) // an error of the writer stays and meets the flush
	c.w.WriteString("\r\n")
	if err := c.w.Flush(); err != nil {
		return reply{}, err
	}
	return c.read(c.cfg.Timeouts.Greeting)
}
