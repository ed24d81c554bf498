package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"carteiro/cmd/carteiro/internal/importer"
	"carteiro/core/ops/admin"
	"carteiro/core/service/spam"
)

func spamCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "spam",
		Short: "The model of unwanted mail: learn, unlearn, classify, stats, measure",
	}
	cmd.AddCommand(spamLearn(), spamUnlearn(), spamClassify(), spamStats(), spamMeasure())
	return cmd
}

func accountFlag(cmd *cobra.Command, account *string) {
	cmd.Flags().StringVar(account, "account", "", "the model of this `address` instead of the site's")
}

// spamBatch is how many messages' features go to the server at once: 4 MiB hold
// that many of the largest.
const spamBatch = 100

// learnReport is the answer of learn and unlearn.
type learnReport struct {
	Messages   int `json:"messages"`
	TooComplex int `json:"too_complex,omitempty"`
}

// teach sends the features of all messages in files to a call, in batches.
func (o *options) teach(cmd *cobra.Command, call string, args admin.SpamArgs, files []string) error {
	var done learnReport
	send := func() error {
		_, err := o.call(cmd.Context(), call, args, true)
		done.Messages += len(args.Messages)
		args.Messages = args.Messages[:0]
		return err
	}
	for _, file := range files {
		err := importer.EachFeatures(file, cmd.InOrStdin(), func(name string, f *spam.Features) error {
			if f == nil {
				done.TooComplex++
				fmt.Fprintf(cmd.ErrOrStderr(), "carteiro: %s: %v, left out\n", name, spam.ErrTooComplex)
				return nil
			}
			args.Messages = append(args.Messages, f)
			if len(args.Messages) < spamBatch {
				return nil
			}
			return send()
		})
		if err != nil {
			return err
		}
	}
	if len(args.Messages) > 0 || done.Messages == 0 {
		if err := send(); err != nil {
			return err
		}
	}
	raw, err := json.Marshal(done)
	if err != nil {
		return err
	}
	if done.Messages == 0 {
		return fmt.Errorf("no message found")
	}
	return o.print(cmd.OutOrStdout(), raw, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "%d messages\n", done.Messages)
		return err
	})
}

func spamLearn() *cobra.Command {
	var o options
	var account string
	cmd := &cobra.Command{
		Use:   "learn spam|ham FILE... [--account ADDRESS]",
		Short: "Teach messages: files, Maildirs, mboxes, or - for standard input",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := spam.ParseClass(args[0]); err != nil {
				return usageError{err}
			}
			return o.teach(cmd, "spam.learn", admin.SpamArgs{Account: account, Class: args[0]}, args[1:])
		},
	}
	o.flags(cmd, true)
	accountFlag(cmd, &account)
	return cmd
}

func spamUnlearn() *cobra.Command {
	var o options
	var account string
	cmd := &cobra.Command{
		Use:   "unlearn FILE... [--account ADDRESS]",
		Short: "Undo learn, as if it had never happened",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.teach(cmd, "spam.unlearn", admin.SpamArgs{Account: account}, args)
		},
	}
	o.flags(cmd, true)
	accountFlag(cmd, &account)
	return cmd
}

// classified is one answer of classify.
type classified struct {
	Name        string   `json:"name"`
	Probability *float64 `json:"probability"` // null: too complex
}

func spamClassify() *cobra.Command {
	var o options
	var account string
	cmd := &cobra.Command{
		Use:   "classify FILE... [--account ADDRESS]",
		Short: "Print the probability, 0 to 1, that a message is spam",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			all := []classified{}
			var batch []*spam.Features
			first := 0 // of the batch, in all
			ask := func() error {
				raw, err := o.call(cmd.Context(), "spam.classify", admin.SpamArgs{Account: account, Messages: batch}, true)
				if err != nil {
					return err
				}
				var p []float64
				if err := json.Unmarshal(raw, &p); err != nil {
					return err
				}
				for i := first; i < len(all); i++ {
					if all[i].Probability != nil {
						all[i].Probability, p = &p[0], p[1:]
					}
				}
				batch, first = batch[:0], len(all)
				return nil
			}
			complex := 0
			for _, file := range args {
				err := importer.EachFeatures(file, cmd.InOrStdin(), func(name string, f *spam.Features) error {
					if f == nil {
						all = append(all, classified{Name: name})
						complex++
						return nil
					}
					all = append(all, classified{name, new(float64)})
					if batch = append(batch, f); len(batch) == spamBatch {
						return ask()
					}
					return nil
				})
				if err != nil {
					return err
				}
			}
			if err := ask(); err != nil {
				return err
			}
			return o.printClassified(cmd, all, complex)
		},
	}
	o.flags(cmd, true)
	accountFlag(cmd, &account)
	return cmd
}

// printClassified prints the answers: of one message the number alone.
func (o *options) printClassified(cmd *cobra.Command, all []classified, complex int) error {
	if len(all) == 1 && complex == 1 && !o.json {
		return spam.ErrTooComplex
	}
	raw, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return o.print(cmd.OutOrStdout(), raw, func(w io.Writer) error {
		for _, j := range all {
			answer := spam.ErrTooComplex.Error()
			if j.Probability != nil {
				answer = strconv.FormatFloat(*j.Probability, 'f', -1, 64)
			}
			if len(all) > 1 {
				answer += "\t" + j.Name
			}
			fmt.Fprintln(w, answer)
		}
		return nil
	})
}

func spamStats() *cobra.Command {
	var o options
	var account string
	cmd := &cobra.Command{
		Use:   "stats [--account ADDRESS]",
		Short: "Show what was taught",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return show(cmd, &o, "spam.stats", admin.SpamArgs{Account: account}, true, func(w io.Writer, s spam.Stats) {
				fmt.Fprintf(w, "spam\t%d\nham\t%d\nfeatures\t%d\noldest\t%s\nnewest\t%s\n", s.Spam, s.Ham, s.Features, stamp(s.Oldest), stamp(s.Newest))
			})
		},
	}
	o.flags(cmd, true)
	accountFlag(cmd, &account)
	return cmd
}

func spamMeasure() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "measure HAM SPAM",
		Short: "Cross-validate on folders, mboxes or .tar, .tar.gz, .tar.xz archives of ham and of spam; needs no server",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var all []spam.Labelled
			for i, class := range []spam.Class{spam.Ham, spam.Spam} {
				err := importer.EachMessage(args[i], cmd.InOrStdin(), func(name string, raw []byte) error {
					all = append(all, spam.Labelled{Name: name, Class: class, Raw: raw})
					return nil
				})
				if err != nil {
					return err
				}
			}
			m, err := spam.Measure(all)
			if err != nil {
				return err
			}
			raw, err := json.Marshal(m)
			if err != nil {
				return err
			}
			return o.print(cmd.OutOrStdout(), raw, func(w io.Writer) error {
				fmt.Fprintf(w, "%d ham, %d spam, %d folds\nmissed at\t0.1%%\t0.5%%\t1%%\tAUC\n", m.Ham, m.Spam, spam.Folds)
				for _, q := range []struct {
					name string
					spam.Quality
				}{{"as it is", m.Quality}, {"stripped", m.Stripped}} {
					fmt.Fprintf(w, "%s\t%.2f%%\t%.2f%%\t%.2f%%\t%.5f\n", q.name, 100*q.Missed["0.1%"], 100*q.Missed["0.5%"], 100*q.Missed["1%"], q.AUC)
				}
				_, err := fmt.Fprintf(w, "copies of spam: %.2f%% of ham, %.2f%% of spam\n", 100*m.Copies.Ham, 100*m.Copies.Spam)
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}
