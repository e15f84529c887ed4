package lease

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/issuer-sync/issuer-sync/internal/kube"
)

// api is where the API server has Leases.
const api = "/apis/coordination.k8s.io/v1"

// What is done with the Lease, in errors.
const (
	reading  = "reading"
	creating = "creating"
	updating = "updating"
)

// errMoved is for a write that came too late: the lease is not what was seen.
var errMoved = errors.New("somebody else changed the lease")

// read notes the lease as it is in etcd: without a resourceVersion in the
// request no cache answers.
func (e *Elector) read(ctx context.Context) error {
	found, err := e.do(ctx, reading, e.config.Client.Get().Name(e.config.Name.Name))
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	e.note(found, time.Time{})
	return nil
}

// write makes holder that of the lease, if the lease is still as last seen, and
// notes the result. Labels, annotations and fields that are not ours stay.
func (e *Elector) write(ctx context.Context, holder string) error {
	sent := time.Now()
	doing, request := updating, e.config.Client.Put().Name(e.config.Name.Name)
	next := e.lease.DeepCopy()
	if next == nil {
		doing, request = creating, e.config.Client.Post()
		next = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: e.config.Name.Namespace, Name: e.config.Name.Name}}
	}
	fill(&next.Spec, holder, sent)
	written, err := e.do(ctx, doing, request.Body(next))
	switch {
	case apierrors.IsAlreadyExists(err), apierrors.IsConflict(err), apierrors.IsNotFound(err) && doing == updating:
		return errMoved
	case err != nil:
		return err
	}
	// From when it was sent: the others see it later, and so wait longer.
	e.note(written, sent.Add(renewDeadline))
	return nil
}

// fill sets the fields as client-go's elector does. It leaves alone those of
// coordinated election (preferredHolder, strategy).
func fill(spec *coordinationv1.LeaseSpec, holder string, now time.Time) {
	changes := spec.HolderIdentity == nil || *spec.HolderIdentity != holder
	if changes || spec.AcquireTime == nil {
		spec.AcquireTime = &metav1.MicroTime{Time: now}
	}
	switch {
	case spec.LeaseTransitions == nil:
		spec.LeaseTransitions = new(int32(0))
	case changes && holder != "":
		spec.LeaseTransitions = new(max(*spec.LeaseTransitions+1, 0)) // not below 0 by overflow, which is refused
	}
	duration := leaseDuration
	if holder == "" {
		duration = time.Second // 0 is refused
	}
	spec.LeaseDurationSeconds = new(int32(duration / time.Second))
	spec.HolderIdentity = &holder
	spec.RenewTime = &metav1.MicroTime{Time: now}
}

// do sends a request once: another try, with as long a wait as the server asks
// for, would go on while another one might lead.
func (e *Elector) do(ctx context.Context, doing string, request *rest.Request) (*coordinationv1.Lease, error) {
	var answer coordinationv1.Lease
	if err := kube.Do(ctx, request.AbsPath(api).Namespace(e.config.Name.Namespace).Resource("leases"), &answer); err != nil {
		return nil, e.explain(doing, err)
	}
	return &answer, nil
}

// explain adds what was being done, and the cure where an operator has one.
func (e *Elector) explain(doing string, err error) error {
	name := e.config.Name
	explained := fmt.Errorf("%s Lease %s: %w", doing, name, err)
	switch {
	case apierrors.IsForbidden(err) && doing == creating:
		// RBAC cannot name an object that does not exist yet.
		return fmt.Errorf("%w: create the Lease beforehand, or allow it with a Role in namespace %q that has the rule "+
			"{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create]}", explained, name.Namespace)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w: allow it with a Role in namespace %q that has the rule "+
			"{apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [%q], verbs: [get, update]}", explained, name.Namespace, name.Name)
	case apierrors.IsNotFound(err) && doing == creating:
		return fmt.Errorf("%w: the namespace must exist", explained)
	default:
		return explained
	}
}

// kind is the same for errors that are one problem, though their texts differ.
// Each missing right is a problem of its own, with a cure of its own.
func kind(err error) string {
	switch {
	case err == nil:
		return ""
	case apierrors.IsForbidden(err):
		return err.Error()
	default:
		return cmp.Or(string(apierrors.ReasonForError(err)), "no answer of an API server")
	}
}
