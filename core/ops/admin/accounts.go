package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"carteiro/core/message/crypt"
	"carteiro/core/message/envelope"
	"carteiro/core/ops/config"
	"carteiro/core/service/audit"
	"carteiro/core/service/auth"
)

// AccountArgs name an account, and what else a call about it needs.
type AccountArgs struct {
	Address  string `json:"address"`
	Password string `json:"password,omitempty"`
	APOP     bool   `json:"apop,omitempty"` // the password is the APOP secret
}

func parseAddress(address string) (envelope.Address, error) {
	a, err := envelope.ParseAddress(address)
	if err != nil {
		return "", fmt.Errorf("%q: %w", address, err)
	}
	return envelope.Address(strings.ToLower(string(a))), nil
}

func accountAdd(ctx context.Context, s *Service, args AccountArgs) (any, error) {
	a, err := parseAddress(args.Address)
	if err != nil {
		return nil, err
	}
	if err := s.Directory.AddAccount(ctx, a, args.Password); err != nil {
		return nil, err
	}
	return s.Directory.Account(ctx, a)
}

func accountRemove(ctx context.Context, s *Service, args AccountArgs) (any, error) {
	a, err := parseAddress(args.Address)
	if err != nil {
		return nil, err
	}
	return none{}, s.Directory.RemoveAccount(ctx, a, crypt.RemovalRecord(a))
}

func accountList(ctx context.Context, s *Service, _ none) (any, error) {
	all, err := s.Directory.Accounts(ctx)
	if all == nil {
		all = []auth.Summary{}
	}
	return all, err
}

// AccountReport is the answer of "account.show".
type AccountReport struct {
	auth.Summary
	Used     int64          `json:"used"`
	Messages int64          `json:"messages"`
	Folders  []FolderReport `json:"folders"`
}

// FolderReport is one folder of an account.
type FolderReport struct {
	Name     string `json:"name"`
	Messages int64  `json:"messages"`
	Bytes    int64  `json:"bytes"`
}

func accountShow(ctx context.Context, s *Service, args AccountArgs) (any, error) {
	a, err := parseAddress(args.Address)
	if err != nil {
		return nil, err
	}
	r := AccountReport{Folders: []FolderReport{}}
	if r.Summary, err = s.Directory.Account(ctx, a); err != nil {
		return nil, err
	}
	if r.Used, _, err = s.Store.Usage(ctx, r.Address); err != nil {
		return nil, err
	}
	for f, err := range s.Store.Folders(ctx, r.Address) {
		if err != nil {
			return nil, err
		}
		r.Messages += f.Count
		r.Folders = append(r.Folders, FolderReport{f.Folder, f.Count, f.Bytes})
	}
	return r, nil
}

func accountPassword(ctx context.Context, s *Service, args AccountArgs) (any, error) {
	a, err := parseAddress(args.Address)
	if err != nil {
		return nil, err
	}
	if args.APOP {
		return none{}, s.Directory.SetAPOP(ctx, a, args.Password)
	}
	if args.Password == "" {
		return nil, errors.New("the password is empty")
	}
	return none{}, s.Directory.SetPassword(ctx, a, args.Password)
}

// SetArgs change one setting.
type SetArgs struct {
	Address string `json:"address"`
	Key     string `json:"key"`
	Value   string `json:"value"` // JSON; anything else is taken as text
	// Confirmed: the addresses that the setting names have agreed.
	Confirmed bool `json:"confirmed,omitempty"`
}

func accountSet(ctx context.Context, s *Service, args SetArgs) (any, error) {
	a, err := parseAddress(args.Address)
	if err != nil {
		return nil, err
	}
	if args.Key == "quota" {
		n, err := config.ParseSize(args.Value)
		if err != nil {
			return nil, err
		}
		if err := s.Directory.SetQuota(ctx, a, n); err != nil {
			return nil, err
		}
		return none{}, s.Store.SetQuota(ctx, a.Base(), n)
	}
	value := json.RawMessage(args.Value)
	if !json.Valid(value) {
		if strings.HasPrefix(args.Value, "{") || strings.HasPrefix(args.Value, "[") {
			return nil, fmt.Errorf("value of %s is broken JSON", args.Key)
		}
		value, _ = json.Marshal(args.Value)
	}
	var decoded any
	if err := json.Unmarshal(value, &decoded); err != nil {
		return nil, err
	}
	if decoded != nil && s.CheckSetting != nil {
		if err := s.CheckSetting(a, args.Key, decoded); err != nil {
			return nil, err
		}
	}
	if err := s.Directory.Set(ctx, a, args.Key, value, args.Confirmed); err != nil {
		return nil, err
	}
	s.notifySetting(a, args, value)
	return none{}, nil
}

// notifySetting tells policies about a changed setting, if a pipeline runs.
func (s *Service) notifySetting(a envelope.Address, args SetArgs, value json.RawMessage) {
	if s.Pipeline == nil {
		return
	}
	data := map[string]any{"user": string(a.Base()), "name": args.Key, "confirmed": args.Confirmed}
	var v any
	if json.Unmarshal(value, &v) == nil && v != nil {
		data["value"] = v
	}
	s.Pipeline.Notice("setting", data)
}

// GrantArgs give or take a right.
type GrantArgs struct {
	Owner    string `json:"owner"`
	Delegate string `json:"delegate"`
	Right    string `json:"right,omitempty"`
	Until    string `json:"until,omitempty"` // a day, the last one
}

func accountGrant(ctx context.Context, s *Service, args GrantArgs) (any, error) {
	owner, err := parseAddress(args.Owner)
	if err != nil {
		return nil, err
	}
	delegate, err := parseAddress(args.Delegate)
	if err != nil {
		return nil, err
	}
	var until time.Time
	if args.Until != "" {
		day, err := time.Parse(time.DateOnly, args.Until)
		if err != nil {
			return nil, fmt.Errorf("until: %q is not a day; write 2026-12-31", args.Until)
		}
		until = day.AddDate(0, 0, 1)
	}
	return none{}, s.Directory.Grant(ctx, owner, delegate, args.Right, until)
}

func accountRevoke(ctx context.Context, s *Service, args GrantArgs) (any, error) {
	owner, err := parseAddress(args.Owner)
	if err != nil {
		return nil, err
	}
	delegate, err := parseAddress(args.Delegate)
	if err != nil {
		return nil, err
	}
	return none{}, s.Directory.Revoke(ctx, owner, delegate, args.Right)
}

// AuditArgs ask for the newest entries of an owner's audit, 0 for 100.
type AuditArgs struct {
	Owner string `json:"owner"`
	Limit int    `json:"limit,omitempty"`
}

func accountAudit(ctx context.Context, s *Service, args AuditArgs) (any, error) {
	owner, err := parseAddress(args.Owner)
	if err != nil {
		return nil, err
	}
	if args.Limit < 0 {
		return nil, fmt.Errorf("limit: %d is below 1", args.Limit)
	}
	return audit.List(ctx, s.Store, owner, cmp.Or(args.Limit, 100))
}

// DomainArgs name a domain.
type DomainArgs struct {
	Domain string `json:"domain"`
}

func domainAdd(ctx context.Context, s *Service, args DomainArgs) (any, error) {
	return none{}, s.Directory.AddDomain(ctx, args.Domain)
}

func domainRemove(ctx context.Context, s *Service, args DomainArgs) (any, error) {
	return none{}, s.Directory.RemoveDomain(ctx, args.Domain)
}

func domainList(_ context.Context, s *Service, _ none) (any, error) {
	return s.Directory.Domains(), nil
}
