package hookstest

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"carteiro/core/protocol/milter"
)

// Milters answers for filters from a table; one that is nil does not answer.
type Milters struct {
	Answers map[string]*milter.Answer
	Asked   []*milter.Message
}

// Scan implements lua.Milters.
func (m *Milters) Scan(_ context.Context, name string, q *milter.Message) (*milter.Answer, error) {
	m.Asked = append(m.Asked, q)
	if m.Answers[name] == nil {
		return nil, fmt.Errorf("%w: %s", milter.ErrFilter, name)
	}
	return m.Answers[name], nil
}

// Names implements lua.Milters.
func (m *Milters) Names() []string { return slices.Sorted(maps.Keys(m.Answers)) }
