package generations

import "context"

// watcher notices changes on disk.
type watcher struct {
	keeper *Manager
	seen   string // stamp at the look before
	quiet  int    // looks since it changed
}

// check reloads when the files are not those that were last read, and have
// been as they are for two looks. A tree that does not load was read, too, and
// is not tried again until it changes.
func (w *watcher) check(ctx context.Context) {
	s := w.keeper.o.Stamp()
	if s != w.seen {
		w.seen, w.quiet = s, 0
		return
	}
	if w.quiet++; w.quiet < 2 {
		return
	}
	if read := w.keeper.read.Load(); read != nil && *read == s {
		return
	}
	w.keeper.Reload(ctx, "watch") // logs what is wrong
}
