//go:build faultL2

package source

var _ = func() bool { faultL2 = true; return true }()
