package lua

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"strings"

	glua "github.com/yuin/gopher-lua"
)

var base64Module = module{name: "base64", doc: "base64 (RFC 4648)", functions: []function{
	{
		name: "encode",
		call: coder(func(s string) (string, error) { return base64.StdEncoding.EncodeToString([]byte(s)), nil }),
		sig:  "encode(s)",
		doc:  "with padding",
	},
	{name: "decode", call: coder(decodeBase64), sig: "decode(s)", doc: "the decoded octets, or nil and what is wrong; both alphabets, " +
		"padding is optional"},
}}

var hexModule = module{name: "hex", doc: "hexadecimal text", functions: []function{
	{
		name: "encode",
		call: coder(func(s string) (string, error) { return hex.EncodeToString([]byte(s)), nil }),
		sig:  "encode(s)",
		doc:  "in lower case",
	},
	{
		name: "decode",
		call: coder(func(s string) (string, error) { b, err := hex.DecodeString(s); return string(b), err }),
		sig:  "decode(s)",
		doc:  "the decoded octets, or nil and what is wrong",
	},
}}

// coder makes a function of one string that pays for at most twice its size.
func coder(f func(string) (string, error)) glua.LGFunction {
	return func(L *glua.LState) int {
		s := text(L, 1)
		b := budgetOf(L)
		b.chargeMemory(L, 2*int64(len(s))+8)
		b.chargeSteps(L, int64(len(s))/64)
		out, err := f(s)
		if err != nil {
			L.Push(glua.LNil)
			L.Push(glua.LString(err.Error()))
			return 2
		}
		L.Push(glua.LString(out))
		return 1
	}
}

func decodeBase64(s string) (string, error) {
	s = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/", "\r", "", "\n", "").Replace(s), "=")
	b, err := base64.RawStdEncoding.DecodeString(s)
	return string(b), err
}

var hashModule = module{name: "hash", doc: "digests", functions: []function{
	{name: "sha256", call: coder(func(s string) (string, error) {
		sum := sha256.Sum256([]byte(s))
		return hex.EncodeToString(sum[:]), nil
	}), sig: "sha256(s)", doc: "hexadecimal SHA-256"},
	{name: "hmac", call: hashHMAC, sig: "hmac(key, s)", doc: "hexadecimal HMAC-SHA-256"},
	{name: "crc32", call: hashCRC32, sig: "crc32(s)", doc: "CRC-32 (IEEE) as a number"},
}}

func hashHMAC(L *glua.LState) int {
	key, s := text(L, 1), text(L, 2)
	budgetOf(L).chargeSteps(L, int64(len(s))/64)
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(s))
	L.Push(glua.LString(hex.EncodeToString(mac.Sum(nil))))
	return 1
}

func hashCRC32(L *glua.LState) int {
	s := text(L, 1)
	budgetOf(L).chargeSteps(L, int64(len(s))/64)
	L.Push(glua.LNumber(crc32.ChecksumIEEE([]byte(s))))
	return 1
}

var uuidModule = module{name: "uuid", doc: "random ids", functions: []function{
	{name: "new", call: uuidNew, sig: "new()", doc: "a random UUID (version 4)"},
}}

func uuidNew(L *glua.LState) int {
	refuseWhileLoading(L, "uuid.new")
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	L.Push(glua.LString(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])))
	return 1
}
