package site

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"carteiro/core/message/crypt"
	"carteiro/core/message/envelope"
	"carteiro/core/ops/clock"
	"carteiro/core/ops/config"
	"carteiro/core/service/auth"
	"carteiro/core/service/lists"
	"carteiro/core/service/spam"
	"carteiro/core/service/srs"
	"carteiro/core/store"
	"carteiro/core/store/badgerstore"
)

// Error is that of a file or a store which the operator has to put right;
// nothing was changed.
type Error struct{ Err error }

// Error returns the text of what is wrong.
func (e Error) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e Error) Unwrap() error { return e.Err }

// Storage is an open store and what keeps its data there.
type Storage struct {
	Store     *badgerstore.Store
	Directory *auth.Directory
	Spam      *spam.Filter
	Keys      *crypt.Keys
	Returns   *srs.Keys
}

// OpenStorage opens the store of a configuration; key is that of its key file,
// or nil. No other process can have it open at the same time.
func OpenStorage(ctx context.Context, cfg *config.Config, key []byte, now *clock.Clock, log *slog.Logger) (*Storage, error) {
	var atRest []byte
	if key != nil {
		var err error
		if atRest, err = hkdf.Key(sha256.New, key, nil, "carteiro store", 32); err != nil {
			return nil, err
		}
	}
	opened, err := badgerstore.Open(badgerstore.Options{
		Dir:     filepath.Join(cfg.Storage.Dir, "store"),
		Reserve: int64(cfg.Storage.Reserve),
		Key:     atRest,
		Trail:   cfg.Storage.Trail.Std(),
		Clock:   now,
		Log:     log,
	})
	if err != nil {
		return nil, Error{fmt.Errorf("store: %w", err)}
	}
	s := &Storage{Store: opened, Spam: spam.New(opened, now), Keys: &crypt.Keys{Data: opened, Clock: now}}
	s.Directory, err = auth.New(ctx, auth.Options{
		Data:       opened,
		Domains:    cfg.Domains,
		Postmaster: envelope.Address(cfg.Postmaster),
		Key:        key,
		Clock:      now,
		Group:      s.groupMember,
	})
	if err == nil {
		s.Returns, err = srs.OpenKeys(ctx, opened, key, now.Now)
	}
	if err != nil {
		opened.Close()
		return nil, err
	}
	return s, nil
}

// groupMember reports whether a group of addresses exists that a policy keeps,
// and whether member is in it: a right can be granted to a group.
func (s *Storage) groupMember(ctx context.Context, group, member envelope.Address) (exists, in bool, err error) {
	g := lists.New(s.Store)
	if _, err := g.Settings(ctx, string(group)); errors.Is(err, store.ErrNotFound) {
		return false, false, nil
	} else if err != nil {
		return false, false, err
	}
	_, err = g.Member(ctx, string(group), member)
	if errors.Is(err, store.ErrNotFound) {
		return true, false, nil
	}
	return true, err == nil, err
}

// ReadKey reads a key file: 64 hexadecimal digits. It returns nil for path "".
func ReadKey(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, Error{fmt.Errorf("storage.key_file: %w", err)}
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(raw)))
	if err != nil || len(key) != 32 {
		return nil, Error{fmt.Errorf("storage.key_file %s: not 64 hexadecimal digits", path)}
	}
	return key, nil
}

// AddAccounts makes accounts with a password and an APOP secret, in the store of
// a configuration that no server has open.
func AddAccounts(ctx context.Context, configFile, password, apopSecret string, accounts ...envelope.Address) error {
	cfg, err := config.Load(configFile)
	if err != nil {
		return err
	}
	key, err := ReadKey(cfg.Storage.KeyFile)
	if err != nil {
		return err
	}
	s, err := OpenStorage(ctx, cfg, key, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	for _, a := range accounts {
		if err == nil {
			err = s.Directory.AddAccount(ctx, a, password)
		}
		if err == nil {
			err = s.Directory.SetAPOP(ctx, a, apopSecret)
		}
	}
	return errors.Join(err, s.Store.Close())
}
