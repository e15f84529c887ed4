package httpserver

import "net"

// Over is Listen with a listener that is there already.
func Over(listener net.Listener, config Config) *Server { return newServer(config, listener) }
