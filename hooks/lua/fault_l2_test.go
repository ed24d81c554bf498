//go:build faultL2

package lua

var _ = func() bool { faultL2 = true; return true }()
