package servers

// ReservePort is reservePort as its test sees it.
func ReservePort() (address string, release func(), err error) {
	p, err := reservePort()
	if err != nil {
		return "", nil, err
	}
	return p.address(), p.release, nil
}
