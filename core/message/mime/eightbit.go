package mime

// Has8Bit reports whether b has octets above 127 (RFC 6152).
func Has8Bit(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return true
		}
	}
	return false
}
