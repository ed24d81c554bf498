// Package mail holds the words that every other package uses: addresses and
// envelopes, recipients and their states, priorities and their classes,
// statuses that SMTP can say, and ids. It imports nothing but the standard
// library, does no input or output, and keeps no state.
//
// Terms are those of RFC 5598: an Envelope travels with a message's octets, a
// Transaction is an envelope in the making, a Recipient has a state of its
// own from the moment it is accepted until it is delivered, relayed, failed
// or given up.
package mail
