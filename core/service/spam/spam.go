// Package spam is a text model that learns to distinguish wanted and unwanted
// mail. It knows nothing about policies: any bundle may use it.
//
// It keeps the hashed features of each taught message, under a key that is the
// same for every copy of the message. The models are made from all kept
// messages, in an order that depends only on the keys: so teaching a message
// twice has no effect, forgetting it leaves no trace, and the same messages
// always give the same model, whatever their order.
//
// Several learners vote: the combination of word probabilities by Fisher's
// method (in Robinson's form), logistic regression over log count ratios, and
// linear support vector machines over words, over the letters of the text, and
// over the header section. The header section has its own learners, which the
// others do not depend on, because it says much about mail of this site and
// little about other mail. Fields that name the recipient or the list are left
// out: with them, ham of a list that was not taught is spam.
package spam

import (
	"errors"
	"io"
	"time"

	"carteiro/core/message/mime"
)

// Errors of this package.
var (
	// ErrTooComplex: the message is built to cost more than it is worth:
	// too many or too deep parts, texts or links.
	ErrTooComplex = errors.New("too complex")
	// ErrClass: a class that is neither spam nor ham.
	ErrClass = errors.New(`class must be "spam" or "ham"`)
)

// Class says as what a message was learned.
type Class byte

// The classes.
const (
	Ham  Class = 'h'
	Spam Class = 's'
)

// ParseClass reads "spam" or "ham", else ErrClass.
func ParseClass(s string) (Class, error) {
	switch s {
	case "spam":
		return Spam, nil
	case "ham":
		return Ham, nil
	}
	return 0, ErrClass
}

// String is "spam" or "ham".
func (c Class) String() string {
	if c == Spam {
		return "spam"
	}
	return "ham"
}

// Message is one message to learn from or to judge. Body opens what follows
// the blank line; it is read once, as a stream.
type Message struct {
	Header *mime.Header
	Body   func() (io.ReadCloser, error)
}

// Limits of what is read of a message. The answer to a message beyond the last four is
// ErrTooComplex; of a message beyond the others the beginning is read.
const (
	maxText   = 64 << 10 // octets of text, all parts together
	maxGrams  = 6000     // octets of it that give sequences of letters
	maxHead   = 2000     // octets of the header section that do
	maxField  = 300      // octets of one field that do
	maxWords  = 4000     // words
	maxFields = 400      // header fields

	maxMessage = 64 << 20 // octets of a message
	maxEncoded = 8 << 20  // octets of one text part, as transferred
	maxTexts   = 100      // text parts
	maxLinks   = 2000     // links in the text that is read
)

// How long a taught message counts, and how many count, the newest first.
const (
	Lifetime     = 2 * 365 * 24 * time.Hour
	SiteLimit    = 10_000
	AccountLimit = 2_000
)
