package redirect

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// instead is the way for whom the redirect is none.
const instead = "or use env mode, which needs no redirect: --proxy-mode=env of the webhook"

// explain says what an answer of the kernel means to whoever runs the
// container.
func explain(err error) error {
	switch {
	case errors.Is(err, os.ErrPermission): // EPERM, EACCES
		return fmt.Errorf("%s; %s: %w", forbidden(), instead, err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT):
		return lacks("netfilter netlink, which sandboxes such as gVisor do not have", err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("the kernel did not answer in time; try again, %s: %w", instead, err)
	default:
		return fmt.Errorf("%w; %s", err, instead)
	}
}

// explainNone explains the answer to a question that every nf_tables can
// answer: net/netfilter/nfnetlink.c returns EINVAL if it knows no such
// subsystem.
func explainNone(err error) error {
	if errors.Is(err, unix.EINVAL) {
		return lacks("nf_tables (CONFIG_NF_TABLES, module nf_tables)", err)
	}
	return explain(err)
}

// lacking reports whether the answer is one to something that the kernel does
// not know: net/netfilter/nf_tables_api.c returns EOPNOTSUPP for families, and
// ENOENT for types of chains and expressions, whose keys are EOPNOTSUPP again.
func lacking(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP)
}

// explainPart explains why a rule was not taken, by what the kernel lacks.
func explainPart(err error, missing string) error {
	if missing == "" {
		return explain(err)
	}
	return lacks(missing, err)
}

func lacks(what string, err error) error {
	return fmt.Errorf("the kernel lacks %s; have the node load it, %s: %w", what, instead, err)
}

// forbidden tells the two reasons apart. The kernel asks for the capability in
// the user namespace that the network namespace belongs to.
func forbidden() string {
	if hasNetAdmin() {
		return "capability NET_ADMIN is there, but not for this network namespace, or a security module forbids it; want a container whose user and network namespace belong together"
	}
	return fmt.Sprintf("capability NET_ADMIN is missing, and the uid is %d; want uid 0 and NET_ADMIN in securityContext.capabilities.add, as the webhook sets for azwi-proxy-init", os.Getuid())
}

func hasNetAdmin() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData // 64 capabilities
	return unix.Capget(&header, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_NET_ADMIN) != 0
}
