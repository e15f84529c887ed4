// Package testdata says what page.md has.
package testdata

func (s *server) run() error {
	s.log.Info(fmt.Sprintf("serving on %d", s.port))
	s.log.Info(s.greeting)
	other.Info("elsewhere")
	if s.err != nil {
		return fmt.Errorf("reading "+"%[1]q: %v", s.name, s.err)
	}
	s.log.Attrs(s.level, "stopped")
	return nil
}
