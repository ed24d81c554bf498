package hookstest

import "carteiro/core/message/envelope"

// Box is a mailbox with settings.
type Box struct {
	Owner    envelope.Address
	Names    []string
	Used     int64
	Limit    int64
	Settings map[string]any
}

// Address implements hooks.Box.
func (b *Box) Address() envelope.Address { return b.Owner }

// Folders implements hooks.Box.
func (b *Box) Folders() ([]string, error) { return b.Names, nil }

// Quota implements hooks.Box.
func (b *Box) Quota() (used, limit int64, err error) { return b.Used, b.Limit, nil }

// Setting implements hooks.Box.
func (b *Box) Setting(name string) (any, error) { return b.Settings[name], nil }
