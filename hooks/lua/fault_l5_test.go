//go:build faultL5

package lua

var _ = func() bool { faultL5 = true; return true }()
