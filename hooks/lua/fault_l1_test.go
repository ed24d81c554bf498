//go:build faultL1

package lua

var _ = func() bool { faultL1 = true; return true }()
