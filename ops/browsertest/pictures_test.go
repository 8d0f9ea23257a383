package browsertest

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// quality is that of the pictures, of 100.
var quality = int64(70)

var pictures = flag.String("pictures", "", "the directory that TestPictures writes pictures of each view into")

// TestPictures makes the pictures of docs/page: `make page-pictures`.
func TestPictures(t *testing.T) {
	if *pictures == "" {
		t.Skip("left out: there is no -pictures")
	}
	b := newBed(t)
	for _, v := range views {
		t.Run(v.name, func(t *testing.T) { takePictures(t, b.open(t, b.operator), v.name, v.path) })
	}
}

// takePictures makes the pictures of a view in both themes.
func takePictures(t *testing.T, tb *tab, name, path string) {
	t.Helper()
	for _, theme := range []string{"light", "dark"} {
		tb.theme(theme)
		tb.get(path)
		if name != "confirm" { // which does not change
			tb.soon("header .live", "live")
		}
		picture, err := chromedp.Call(tb.ctx, page.CaptureScreenshot,
			page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatWebp, Quality: &quality})
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(*pictures, name+"-"+theme+".webp")
		if err := os.WriteFile(file, picture.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
