//go:build faultL4

package lua

var _ = func() bool { faultL4 = true; return true }()
