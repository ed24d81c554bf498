package lua_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	"image/draw"
	"image/png"
	"strings"
	"testing"

	"carteiro/hooks"
	"carteiro/hooks/hookstest"
)

// codePicture is a small picture with a QR code of http://203.0.113.9/login.
const codePicture = "iVBORw0KGgoAAAANSUhEUgAAAGMAAABjAQMAAAC19SzWAAAABlBMVEX///8AAABVwtN+AAAA50lEQVR42tTSsY3DMAwF0B+ocCctIMBrqONKmU" +
	"DRLUCv5M5rCOACSufCMA86IJc0At2G3XNj8uvjayaolhQz6WnJwy07coI3RcJwLSlf0M9acU3LLu2K4DjVj82GCqqchN/XDvX3E8fv2IYKm2uT" +
	"FpJmyeN4bBX02mysoK5Mh6eaLd3WvvhTKyx5uEIRFLMl4PBTDPvMlnySk+YCMXXbkaf5qfFuKWzSUHsTLfUPqzKULfW3pSOnV4Jj9SQgJ7SZIi" +
	"lJF633C2LCY5VyQSWpbv8tHwuOpyMjwlK/r/cF2dJ3zG8AAAD//2EFR4iDgYj1AAAAAElFTkSuQmCC"

// TestQRCode: codes are read, and one call looks at so many pixels and no more.
func TestQRCode(t *testing.T) {
	raw, err := base64.StdEncoding.DecodeString(codePicture)
	if err != nil {
		t.Fatal(err)
	}
	small, err := png.Decode(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	sized := func(side int) string {
		canvas := image.NewGray(image.Rect(0, 0, side, side))
		draw.Draw(canvas, canvas.Bounds(), image.White, image.Point{}, draw.Src)
		draw.Draw(canvas, small.Bounds().Add(image.Pt(side/3, side/3)), small, image.Point{}, draw.Src)
		var b bytes.Buffer
		if err := png.Encode(&b, canvas); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	letter := func(pictures ...string) *hooks.Message {
		var b strings.Builder
		b.WriteString("From: a@a.example\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n")
		for _, p := range pictures {
			fmt.Fprintf(&b, "--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n%s\r\n",
				base64.StdEncoding.EncodeToString([]byte(p)))
		}
		return hookstest.Message("a@a.example", b.String()+"--b--\r\n")
	}
	const link = "http://203.0.113.9/login"
	full := sized(1024)
	for _, test := range []struct {
		name     string
		pictures []string
		want     []string
	}{
		{"small", []string{sized(300), "no picture"}, []string{link, "nil"}},
		{"the largest", []string{full}, []string{link}},
		{"too large", []string{sized(1100), sized(200)}, []string{"nil", link}},
		{"too many octets", []string{sized(200) + strings.Repeat("x", 3<<20)}, []string{"nil"}},
		{"too many pixels together", []string{full, full, full, sized(200)}, []string{link, link, "nil", "nil"}},
	} {
		w := hookstest.New(t).Script(`on("receive.data", function(session, tx, msg) for p in msg:parts() do
msg:add_header("X-Code", tostring(p:qr_code())) end end)`)
		a := w.Ask(&hooks.Event{Point: "receive.data", Session: hookstest.Session("192.0.2.7"),
			Tx: hookstest.Tx("a@a.example", "bob@our.example"), Msg: letter(test.pictures...)})
		if a.Err() != "" {
			t.Errorf("%s: %s", test.name, a.Err())
			continue
		}
		if got := a.Event.Msg.Header.All("X-Code"); strings.Join(got, " ") != strings.Join(test.want, " ") {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
