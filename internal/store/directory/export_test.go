package directory

import "os"

// OnSync has called before everything that is made durable, with its path. An
// error of it is the outcome.
func (s *Store) OnSync(called func(path string) error) {
	s.sync = func(f *os.File) error {
		if err := called(f.Name()); err != nil {
			return err
		}
		return f.Sync()
	}
}
