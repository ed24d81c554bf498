package spam

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"carteiro/core/message/mime"
)

// Folds is how many parts a measurement makes of the mail: each part is judged
// by what was learnt from the others.
const Folds = 5

// Rates are the shares of ham that may be taken for spam, by their names.
var Rates = []struct {
	Name string
	Rate float64
}{{"0.1%", 0.001}, {"0.5%", 0.005}, {"1%", 0.01}}

// Quality is how well spam and ham are distinguished: the area under the ROC
// curve, and for each of Rates the share of spam that is missed when at most
// so much ham is flagged. Spam that scores as the ham that is just not
// flagged is missed.
type Quality struct {
	AUC    float64            `json:"auc"`
	Missed map[string]float64 `json:"missed"`
}

// Measurement is the outcome of a cross-validation: for the mail as it is, and
// without the header fields that show where it was collected.
type Measurement struct {
	Ham  int `json:"ham"`
	Spam int `json:"spam"`
	Quality
	Stripped   Quality `json:"stripped"`
	Copies     Copies  `json:"copies"`
	TooComplex int     `json:"too_complex,omitempty"` // counted as ham is, for they were not judged
}

// Copies are the shares of ham and of spam that have CopyShare or more of their text in
// common with spam of the other folds, and less with ham.
type Copies struct {
	Ham  float64 `json:"ham"`
	Spam float64 `json:"spam"`
}

// CopyShare is from which share in common on a measurement takes a message for
// a copy, as the bundle carteiro/spamscore does.
const CopyShare = 0.4

// Labelled is a message of known class; its name decides its fold.
type Labelled struct {
	Name  string
	Class Class
	Raw   []byte
}

// Read splits a raw message, in either kind of line ends and with the line in
// front that mbox files have.
func Read(raw []byte) Message {
	raw = mime.SkipFromLine(raw)
	h := mime.ParseHeader(raw)
	for _, f := range h.Fields() {
		raw = raw[len(f.Raw):]
	}
	raw = bytes.TrimPrefix(raw, []byte("\r"))
	raw = bytes.TrimPrefix(raw, []byte("\n"))
	return Message{Header: h, Body: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }}
}

// Strip removes from a header section everything about the way that the
// message took: Subject, From, Reply-To, MIME-Version, X-Mailer and Content-*
// are left.
func Strip(h *mime.Header) *mime.Header {
	var b bytes.Buffer
	for _, f := range h.Fields() {
		if kept(strings.ToLower(f.Name())) {
			b.WriteString(f.Raw)
		}
	}
	return mime.ParseHeader(b.Bytes())
}

// Measure cross-validates the models on mail of known class, in as many
// goroutines as there are processors. It needs ham and spam of at least Folds
// messages each.
func Measure(mail []Labelled) (*Measurement, error) {
	mail = slices.Clone(mail)
	slices.SortFunc(mail, func(a, b Labelled) int { return cmp.Or(compare(a.Name, b.Name), cmp.Compare(a.Class, b.Class)) })
	m := &Measurement{}
	for _, l := range mail {
		if l.Class == Spam {
			m.Spam++
		} else {
			m.Ham++
		}
	}
	if m.Ham < Folds || m.Spam < Folds {
		return nil, fmt.Errorf("at least %d messages of each class are needed, there are %d ham and %d spam", Folds, m.Ham, m.Spam)
	}
	for _, stripped := range []bool{false, true} {
		features, complex, err := extractAll(mail, stripped)
		if err != nil {
			return nil, err
		}
		scores, err := crossValidate(mail, features)
		if err != nil {
			return nil, err
		}
		if stripped {
			m.Stripped = quality(mail, scores)
		} else {
			m.Quality, m.TooComplex = quality(mail, scores), complex
			m.Copies = copies(mail, features)
		}
	}
	return m, nil
}

// extractAll gives nil for messages that are too complex.
func extractAll(mail []Labelled, stripped bool) ([]*Features, int, error) {
	out := make([]*Features, len(mail))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	const share = 64
	for start := 0; start < len(mail); start += share {
		group.Go(func() error {
			for i := start; i < min(start+share, len(mail)); i++ {
				message := Read(mail[i].Raw)
				if stripped {
					message.Header = Strip(message.Header)
				}
				f, err := Extract(message)
				if err != nil && !errors.Is(err, ErrTooComplex) {
					return fmt.Errorf("%s: %w", mail[i].Name, err)
				}
				out[i] = f
			}
			return nil
		})
	}
	err := group.Wait()
	complex := 0
	for _, f := range out {
		if f == nil {
			complex++
		}
	}
	return out, complex, err
}

// crossValidate judges each message by what the other folds teach.
func crossValidate(mail []Labelled, features []*Features) ([]float64, error) {
	scores := make([]float64, len(mail))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for fold := range Folds {
		group.Go(func() error {
			var taught []*sample
			for i, f := range features {
				if i%Folds != fold && f != nil {
					taught = append(taught, newSample(f, mail[i].Class, time.Time{}))
				}
			}
			m := train(taught)
			for i := fold; i < len(features); i += Folds {
				if features[i] != nil {
					scores[i] = m.logit(&features[i].ids)
				}
			}
			return nil
		})
	}
	return scores, group.Wait()
}

// copies compares each message with those of the other folds.
func copies(mail []Labelled, features []*Features) Copies {
	var found, all [2]float64
	for fold := range Folds {
		var x index
		x.start()
		for i, f := range features {
			if i%Folds != fold && f != nil {
				x.put(strconv.Itoa(i), newSample(f, mail[i].Class, time.Time{}))
			}
		}
		for i := fold; i < len(mail); i += Folds {
			class := 0
			if mail[i].Class == Spam {
				class = 1
			}
			all[class]++
			if f := features[i]; f != nil && !f.sketch.isZero() {
				if share, c := x.nearest(&f.sketch, time.Time{}); share >= CopyShare && c == Spam {
					found[class]++
				}
			}
		}
	}
	return Copies{found[0] / all[0], found[1] / all[1]}
}

func quality(mail []Labelled, scores []float64) Quality {
	var ham, spam []float64
	for i, s := range scores {
		if mail[i].Class == Spam {
			spam = append(spam, s)
		} else {
			ham = append(ham, s)
		}
	}
	slices.Sort(ham)
	slices.Sort(spam)
	q := Quality{Missed: map[string]float64{}}
	for _, r := range Rates {
		flagged := int(math.Floor(r.Rate*float64(len(ham)) + 1e-9))
		line := ham[len(ham)-1-flagged]
		q.Missed[r.Name] = float64(firstAbove(spam, line)) / float64(len(spam))
	}
	pairs := 0.0
	for _, s := range spam {
		below := sort.SearchFloat64s(ham, s)
		pairs += float64(below) + float64(firstAbove(ham, s)-below)/2
	}
	q.AUC = pairs / float64(len(ham)) / float64(len(spam))
	return q
}

// firstAbove returns the place of the first number above x.
func firstAbove(sorted []float64, x float64) int {
	return sort.Search(len(sorted), func(i int) bool { return sorted[i] > x })
}
