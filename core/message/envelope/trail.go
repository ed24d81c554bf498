package envelope

import "time"

// TrailEntry is one step in the story of a message, for `explain`.
type TrailEntry struct {
	Time         time.Time     `json:"time"`
	Step         string        `json:"step"` // receive, queue, route, deliver, bounce, operator
	Hook         string        `json:"hook,omitempty"`
	Handler      string        `json:"handler,omitempty"` // file:line
	Bundle       string        `json:"bundle,omitempty"`  // name@version
	Generation   string        `json:"generation,omitempty"`
	Rcpt         Address       `json:"rcpt,omitempty"`
	Verdict      string        `json:"verdict,omitempty"`
	Changes      []string      `json:"changes,omitempty"`
	Text         string        `json:"text,omitempty"`
	Cost         time.Duration `json:"cost,omitempty"`         // wall time
	Instructions int64         `json:"instructions,omitempty"` // of the script
	Err          string        `json:"err,omitempty"`
}
