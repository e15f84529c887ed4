// Package e2e installs issuer-sync as users do, on a real node, and then lives
// with it: images by tools/images, the chart by helm, pods with real SDKs, a
// rotation, kills, an upgrade, the end. make e2e
// runs it; all of it is for Linux.
package e2e
