package admin

import (
	"context"

	"carteiro/core/message/envelope"
)

// KeyArgs name an address and a key of it.
type KeyArgs struct {
	Address string `json:"address,omitempty"` // of "key.list": "" for all
	File    []byte `json:"file,omitempty"`    // an armored OpenPGP key or a PEM certificate
	Which   string `json:"which,omitempty"`   // a kind or a fingerprint; "": all
}

func keyAdd(ctx context.Context, s *Service, args KeyArgs) (any, error) {
	a, err := parseAddress(args.Address)
	if err != nil {
		return nil, err
	}
	return s.Keys.Add(ctx, a, args.File)
}

func keyRemove(ctx context.Context, s *Service, args KeyArgs) (any, error) {
	a, err := parseAddress(args.Address)
	if err != nil {
		return nil, err
	}
	return none{}, s.Keys.Remove(ctx, a, args.Which)
}

func keyList(ctx context.Context, s *Service, args KeyArgs) (any, error) {
	var a envelope.Address
	if args.Address != "" {
		var err error
		if a, err = parseAddress(args.Address); err != nil {
			return nil, err
		}
	}
	return s.Keys.List(ctx, a)
}
