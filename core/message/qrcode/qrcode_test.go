package qrcode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/makiuchi-d/gozxing"
	reader "github.com/makiuchi-d/gozxing/qrcode"
)

const link = "https://login.evil.example/session?id=12345"

// code returns a picture of that size with a code of link in it.
func code(t testing.TB, width, height, side int) image.Image {
	t.Helper()
	m, err := reader.NewQRCodeWriter().Encode(link, gozxing.BarcodeFormat_QR_CODE, side, side, nil)
	if err != nil {
		t.Fatal(err)
	}
	out := image.NewRGBA(image.Rect(0, 0, width, height))
	draw.Draw(out, out.Bounds(), image.White, image.Point{}, draw.Src)
	for y := range side {
		for x := range side {
			if m.Get(x, y) {
				out.Set(x+(width-side)/2, y+(height-side)/2, color.Black)
			}
		}
	}
	return out
}

func encoded(t testing.TB, format string, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	var err error
	switch format {
	case "png":
		err = png.Encode(&b, m)
	case "jpeg":
		err = jpeg.Encode(&b, m, nil)
	case "gif":
		err = gif.Encode(&b, m, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRead(t *testing.T) {
	for _, format := range []string{"png", "jpeg", "gif"} {
		for _, side := range []int{120, 300} {
			if got, err := Read(encoded(t, format, code(t, 800, 600, side))); got != link || err != nil {
				t.Errorf("%s, %d pixels: %q, %v", format, side, got, err)
			}
		}
	}
	plain := image.NewGray(image.Rect(0, 0, 100, 100))
	for name, raw := range map[string][]byte{
		"no code": encoded(t, "png", plain), "no picture": []byte("hello"), "nothing": nil,
		"half": encoded(t, "png", code(t, 300, 300, 300))[:200],
	} {
		if got, err := Read(raw); got != "" || !errors.Is(err, ErrNone) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// processor returns the processor time of the process.
func processor(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestBounds: pictures made to cost are refused before they do, and the worst
// that is looked at ends in time.
func TestBounds(t *testing.T) {
	// Dimensions alone, in the beginning of a PNG.
	large := encoded(t, "png", code(t, 300, 300, 300))
	binary.BigEndian.PutUint32(large[16:], 1<<20)
	binary.BigEndian.PutUint32(large[20:], 1<<20)
	scans := encoded(t, "jpeg", code(t, 300, 300, 300))
	scans = append(scans[:len(scans)-2], bytes.Repeat([]byte{0xFF, 0xDA}, maxScans)...)
	wide := encoded(t, "png", image.NewGray(image.Rect(0, 0, MaxPixels/4+1, 4)))
	for name, raw := range map[string][]byte{"scans": scans, "wide": wide, "large": large} {
		if _, err := Read(raw); err == nil || name != "large" && !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	noise := image.NewRGBA(image.Rect(0, 0, 1024, MaxPixels/1024))
	for i := range noise.Pix {
		noise.Pix[i] = byte(r.IntN(256))
	}
	raw := encoded(t, "png", noise)
	start := processor(t)
	if got, err := Read(raw); err == nil {
		t.Errorf("noise says %q", got)
	}
	if took := processor(t) - start; took > 2*time.Second {
		t.Errorf("noise took %v", took)
	}
}

func FuzzRead(f *testing.F) {
	for _, format := range []string{"png", "jpeg", "gif"} {
		f.Add(encoded(f, format, code(f, 120, 120, 100)))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		n, err := Pixels(raw)
		if text, err2 := Read(raw); err2 == nil && (err != nil || n > MaxPixels) {
			t.Errorf("%q of a picture that must not be read", text)
		}
	})
}
