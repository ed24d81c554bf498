package envelope

import (
	"net/netip"
	"strings"
	"testing"
)

// TestPublicIP: which addresses are not public.
func TestPublicIP(t *testing.T) {
	const private = `127.0.0.1 127.255.255.254 0.0.0.0 0.1.2.3 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254 100.64.0.1
	100.127.255.255
		192.0.0.8 192.0.2.1 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9 192.88.99.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
		::1 :: ::ffff:127.0.0.1 ::ffff:10.1.1.1 ::ffff:169.254.169.254 fe80::1 fe80::1%eth0 fc00::1 fd12::1 fec0::1 ff02::1 100::1
	2001:db8::1 3fff::1
		64:ff9b::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b::169.254.169.254 64:ff9b:1::1 ::127.0.0.1 ::10.0.0.1 ::ffff:0:127.0.0.1
		2002:7f00:1::1 2002:a00:1::1 2002:a9fe:a9fe::1 2001:0:7f00:1::1 2001:2::1 2001:10::1 2001:20::1 5f00::1 4000::1
		2606:4700::5efe:10.0.0.1 2606:4700::200:5efe:127.0.0.1`
	const public = `1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.1 172.15.255.255 172.32.0.1 169.253.255.255 192.0.1.1
	198.17.0.1 223.255.255.255
		::ffff:8.8.8.8 2606:4700::1111 2a00:1450::1 64:ff9b::8.8.8.8 2002:808:808::1 2001:200::1 2606:4700::5efe:8.8.8.8`
	for list, want := range map[string]bool{private: false, public: true} {
		for s := range strings.FieldsSeq(list) {
			if PublicIP(netip.MustParseAddr(s)) != want {
				t.Errorf("%s: public is %v", s, !want)
			}
		}
	}
	if PublicIP(netip.Addr{}) {
		t.Error("no address is public")
	}
}
