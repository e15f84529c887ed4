package source

import "context"

// WatchWithoutInotify is Watch where inotify gives out.
func (f *Files) WatchWithoutInotify(ctx context.Context, changed func()) error {
	f.watch(ctx, nil, changed)
	return nil
}
