package hooks

import "carteiro/core/message/envelope"

// Refusal returns the status with which a verdict ends an SMTP command: that of
// Reject, Defer and Disconnect. It returns nil for verdicts that do not end it.
func (v Verdict) Refusal() *envelope.Status {
	switch v.Action {
	case Reject, Defer:
		status := v.Status
		return &status
	case Disconnect:
		status := v.Status
		status.Close = true
		return &status
	}
	return nil
}
