package admin

import (
	"context"

	"carteiro/core/message/envelope"
	"carteiro/core/service/spam"
)

// SpamArgs name whom to teach or to judge for, and the messages' features:
// the messages themselves stay where they are.
type SpamArgs struct {
	Account  string           `json:"account,omitempty"` // "": the site
	Class    string           `json:"class,omitempty"`
	Messages []*spam.Features `json:"messages,omitempty"`
}

// spamAccount is the account that a call is about.
func (s *Service) spamAccount(ctx context.Context, args SpamArgs) (envelope.Address, error) {
	if args.Account == "" {
		return "", nil
	}
	a, err := parseAddress(args.Account)
	if err != nil {
		return "", err
	}
	summary, err := s.Directory.Account(ctx, a)
	return envelope.Address(summary.Address), err
}

func spamLearn(ctx context.Context, s *Service, args SpamArgs) (any, error) {
	class, err := spam.ParseClass(args.Class)
	if err != nil {
		return nil, err
	}
	account, err := s.spamAccount(ctx, args)
	if err != nil {
		return nil, err
	}
	if err := s.Spam.Learn(ctx, account, class, args.Messages...); err != nil {
		return nil, err
	}
	if s.Pipeline != nil {
		for range args.Messages {
			s.Pipeline.Notice("learned", map[string]any{"class": class.String(), "account": string(account)})
		}
	}
	return none{}, nil
}

func spamUnlearn(ctx context.Context, s *Service, args SpamArgs) (any, error) {
	account, err := s.spamAccount(ctx, args)
	if err != nil {
		return nil, err
	}
	return none{}, s.Spam.Unlearn(ctx, account, args.Messages...)
}

// spamClassify answers with a probability for each message.
func spamClassify(ctx context.Context, s *Service, args SpamArgs) (any, error) {
	account, err := s.spamAccount(ctx, args)
	if err != nil {
		return nil, err
	}
	out := make([]float64, len(args.Messages))
	for i, m := range args.Messages {
		if out[i], err = s.Spam.Classify(ctx, account, m, true); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func spamStats(ctx context.Context, s *Service, args SpamArgs) (any, error) {
	account, err := s.spamAccount(ctx, args)
	if err != nil {
		return nil, err
	}
	return s.Spam.Stats(ctx, account)
}
