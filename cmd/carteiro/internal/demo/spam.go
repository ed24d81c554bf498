package demo

import (
	"context"
	"fmt"

	"carteiro/core/ops/admin"
	"carteiro/core/service/spam"
)

// What the demo teaches the text model, a message each.
var (
	wantedTexts = []string{
		"the minutes of our meeting, lunch is on Tuesday",
		"photos of the garden are in the library",
		"the train on Tuesday is late, start lunch without me",
		"the patch for the kernel builds, please review",
		"minutes of the review, the release is on Tuesday",
		"tickets for the concert, meet at the station for lunch",
	}
	unwantedTexts = []string{
		"winner of a million dollars, claim your lottery prize",
		"cheap pills, order now, limited offer",
		"claim the prize now, winner, a limited offer",
		"million dollars of credit, no questions, order now",
		"cheap watches, order now, limited lottery offer",
		"you are a winner, claim cheap credit now",
	}
)

// featuresOf returns the features of messages with these texts.
func featuresOf(texts ...string) (out []*spam.Features, err error) {
	for _, text := range texts {
		f, err := spam.Extract(spam.Read([]byte("From: somebody@example.net\r\nSubject: " + text + "\r\n\r\n" + text + "\r\n")))
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// stepSpam teaches the running server's model, asks it about messages that it
// has not seen, and unlearns everything.
func stepSpam(ctx context.Context, d *demo) (string, error) {
	wanted, err := featuresOf(wantedTexts...)
	if err != nil {
		return "", err
	}
	unwanted, err := featuresOf(unwantedTexts...)
	if err != nil {
		return "", err
	}
	asked, err := featuresOf("winner, claim a million dollars of lottery credit now", "the minutes of the review, lunch at the station")
	if err != nil {
		return "", err
	}
	var done struct{}
	if err := d.com.ask(ctx, "spam.learn", admin.SpamArgs{Class: "spam", Messages: unwanted}, &done); err != nil {
		return "", err
	}
	if err := d.com.ask(ctx, "spam.learn", admin.SpamArgs{Class: "ham", Messages: wanted}, &done); err != nil {
		return "", err
	}
	var p, none []float64
	if err := d.com.ask(ctx, "spam.classify", admin.SpamArgs{Messages: asked}, &p); err != nil {
		return "", err
	}
	fmt.Fprintf(d.out, "[%s] carteiro spam classify: %.3f for a lottery, %.3f for minutes\n", d.com.name, p[0], p[1])
	if len(p) != 2 || p[0] < 0.7 || p[1] > 0.3 {
		return "", fmt.Errorf("the model says %v", p)
	}
	if err := d.com.ask(ctx, "spam.unlearn", admin.SpamArgs{Messages: append(wanted, unwanted...)}, &done); err != nil {
		return "", err
	}
	if err := d.com.ask(ctx, "spam.classify", admin.SpamArgs{Messages: asked}, &none); err != nil {
		return "", err
	}
	if none[0] != 0.5 || none[1] != 0.5 {
		return "", fmt.Errorf("everything was unlearned, and the model says %v", none)
	}
	return fmt.Sprintf("six messages of each kind give %.2f and %.2f; after unlearn it knows nothing", p[0], p[1]), nil
}
