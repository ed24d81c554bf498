//go:build faultL1

package source

var _ = func() bool { faultL1 = true; return true }()
