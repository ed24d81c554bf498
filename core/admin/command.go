package admin

import (
	"context"

	"carteiro/hooks"
)

// CommandAnswer is what a policy answered to a command.
type CommandAnswer struct {
	Type string `json:"type"`
	Body string `json:"body"`
}

// command hands a command to the policy that has it.
func (s *Service) command(ctx context.Context, cmd hooks.Command) (any, error) {
	if s.Pipeline == nil {
		return nil, ErrUnavailable
	}
	r, err := s.Pipeline.Command(ctx, &cmd)
	if err != nil {
		return nil, err
	}
	return CommandAnswer{Type: r.Type, Body: r.Body}, nil
}
