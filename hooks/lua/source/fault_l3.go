//go:build faultL3

package source

var _ = func() bool { faultL3 = true; return true }()
