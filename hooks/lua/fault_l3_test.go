//go:build faultL3

package lua

var _ = func() bool { faultL3 = true; return true }()
