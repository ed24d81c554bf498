package admin

import (
	"context"
)

func generationList(ctx context.Context, s *Service, _ none) (any, error) {
	if s.Policies == nil {
		return nil, ErrUnavailable
	}
	return s.Policies.List(ctx)
}

// DiffArgs name two generations by the beginnings of their IDs.
type DiffArgs struct {
	A    string `json:"a,omitempty"`    // "": the one before
	B    string `json:"b,omitempty"`    // "": the one in force
	Disk bool   `json:"disk,omitempty"` // instead of B: what is on disk
}

// DiffReport is the answer of "generation.diff".
type DiffReport struct {
	Diff string `json:"diff"` // unified; "": no difference
}

func generationDiff(ctx context.Context, s *Service, a DiffArgs) (any, error) {
	if s.Policies == nil {
		return nil, ErrUnavailable
	}
	text, err := s.Policies.Diff(ctx, a.A, a.B, a.Disk)
	return DiffReport{text}, err
}

// RollbackArgs name a generation; "" is the one before.
type RollbackArgs struct {
	ID string `json:"id,omitempty"`
}

func generationRollback(ctx context.Context, s *Service, a RollbackArgs) (any, error) {
	if s.Policies == nil {
		return nil, ErrUnavailable
	}
	return s.Policies.Rollback(ctx, a.ID)
}
