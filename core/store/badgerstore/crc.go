package badgerstore

// joinCRC gives the CRC-32C of two texts one after the other from those of
// the texts and the length of the second: a body is streamed before its
// header section is known.
func joinCRC(a, b uint32, lenB int64) uint32 { return shiftCRC(a, lenB) ^ b }

// shiftCRC multiplies a CRC by x^(8n) modulo the polynomial: what n zero
// octets behind the text make of it.
func shiftCRC(crc uint32, n int64) uint32 {
	const x8 = 1 << (31 - 8) // x^8 where bit 31 is x^0
	for power := uint32(x8); n > 0; n >>= 1 {
		if n&1 != 0 {
			crc = mulCRC(crc, power)
		}
		power = mulCRC(power, power)
	}
	return crc
}

// mulCRC multiplies two polynomials over GF(2), bits reversed as in a CRC.
func mulCRC(a, b uint32) uint32 {
	const poly = 0x82f63b78 // Castagnoli
	var p uint32
	for bit := uint32(1) << 31; bit != 0; bit >>= 1 {
		if a&bit != 0 {
			p ^= b
		}
		if b&1 != 0 {
			b = b>>1 ^ poly
		} else {
			b >>= 1
		}
	}
	return p
}
