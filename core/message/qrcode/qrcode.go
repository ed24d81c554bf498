// Package qrcode reads the QR codes in pictures that come by mail, with limits
// on time and memory.
package qrcode

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"

	"github.com/makiuchi-d/gozxing"
	reader "github.com/makiuchi-d/gozxing/qrcode"
)

// Errors of Read.
var (
	// ErrNone: the picture has no code that can be read, or is no whole PNG, JPEG
	// or GIF.
	ErrNone = errors.New("no QR code")
	// ErrTooLarge: the picture would cost too much.
	ErrTooLarge = errors.New("picture too large")
)

// MaxPixels is the largest picture that is looked at, in pixels: noise of this
// size takes as long as a message may.
const MaxPixels = 1 << 20

// maxScans is how many times a JPEG may go over its pixels: a file of some
// octets a scan would cost seconds.
const maxScans = 32

// formats are the kinds of pictures, by their first octets.
var formats = []struct {
	start  string
	config func(io.Reader) (image.Config, error)
	decode func(io.Reader) (image.Image, error)
}{
	{"\x89PNG\r\n\x1a\n", png.DecodeConfig, png.Decode},
	{"\xFF\xD8", jpeg.DecodeConfig, jpeg.Decode},
	{"GIF8", gif.DecodeConfig, gif.Decode},
}

// Pixels returns how many pixels a picture has without decoding it, or ErrNone.
func Pixels(picture []byte) (int64, error) {
	for _, f := range formats {
		if bytes.HasPrefix(picture, []byte(f.start)) {
			c, err := f.config(bytes.NewReader(picture))
			if err != nil {
				return 0, ErrNone
			}
			return int64(c.Width) * int64(c.Height), nil
		}
	}
	return 0, ErrNone
}

// Read returns the text of the QR code in a picture, ErrTooLarge for one of
// more than MaxPixels, or ErrNone.
func Read(picture []byte) (text string, err error) {
	n, err := Pixels(picture)
	if err != nil {
		return "", err
	}
	if n > MaxPixels || bytes.Count(picture, []byte{0xFF, 0xDA}) > maxScans {
		return "", ErrTooLarge
	}
	// Whoever sends the picture must not end the server by what no decoder
	// expects.
	defer func() {
		if p := recover(); p != nil {
			text, err = "", fmt.Errorf("%w: %v", ErrNone, p)
		}
	}()
	for _, f := range formats {
		if bytes.HasPrefix(picture, []byte(f.start)) {
			return find(f.decode(bytes.NewReader(picture)))
		}
	}
	return "", ErrNone
}

// find reads the code in the result of a decoder.
func find(picture image.Image, err error) (string, error) {
	if err != nil {
		return "", ErrNone
	}
	bitmap, err := gozxing.NewBinaryBitmapFromImage(picture)
	if err != nil {
		return "", ErrNone
	}
	result, err := reader.NewQRCodeReader().Decode(bitmap, nil)
	if err != nil {
		return "", ErrNone
	}
	return result.GetText(), nil
}
