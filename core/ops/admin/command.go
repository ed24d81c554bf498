package admin

import (
	"context"
	"errors"

	"carteiro/hooks"
)

// CommandAnswer is a policy's answer to a command.
type CommandAnswer struct {
	Type string `json:"type"`
	Body string `json:"body"`
}

// command runs a policy's command.
func command(ctx context.Context, s *Service, cmd hooks.Command) (any, error) {
	if s.Pipeline == nil {
		return nil, ErrUnavailable
	}
	if cmd.Name == "" {
		return nil, errors.New("command: the name is missing")
	}
	r, err := s.Pipeline.Command(ctx, &cmd)
	if err != nil {
		return nil, err
	}
	return CommandAnswer{Type: r.Type, Body: r.Body}, nil
}

// PolicyCommand is a command that a policy has.
type PolicyCommand struct {
	Name    string `json:"name"`
	Handler string `json:"handler"`
}

func commandList(_ context.Context, s *Service, _ none) (any, error) {
	if s.Pipeline == nil {
		return nil, ErrUnavailable
	}
	out := []PolicyCommand{}
	for _, info := range s.Pipeline.Commands() {
		out = append(out, PolicyCommand{Name: info.Command, Handler: info.Name()})
	}
	return out, nil
}
