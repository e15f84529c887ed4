// Package node brings up a whole cluster for tests: the Kubernetes control plane,
// a kubelet with containerd and runc, and kube-proxy, of one node, in Linux
// namespaces of its own. Nothing of it is seen outside but cgroups and temporary
// files, which go with it; after a test that was killed the next one removes its
// cgroups. It needs root.
//
//	func TestMain(m *testing.M) { program.Main(m) }
//
// All of it is for Linux.
package node
