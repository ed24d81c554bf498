// Package spam is a text model that tells unwanted mail from wanted by what it
// was taught. It knows nothing of policies: any bundle may ask it.
//
// What is kept of a taught message is its features, hashed, under a key that
// is the same for each copy of the message. The models are made from all that
// is kept, in an order that only the keys decide: so teaching a message twice
// is teaching it once, untaught it leaves no trace, and the same messages
// always give the same answers, whatever the order they came in.
//
// Four learners vote: the combination of word probabilities by Fisher's
// method (as Robinson has it), logistic regression over log count ratios,
// and linear support vector machines over words, over the letters of the
// text, and over the header section. The header section has learners of its
// own, without which the others are whole: it tells much at home and little
// elsewhere. So fields that tell to whom a message went, or through which list,
// are left out: with them, ham of a list that was not taught is spam.
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

// Class is what a message was taught as.
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

// Limits of what is looked at. The answer to a message beyond the last four is
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
