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
		tb := b.open(t, b.operator)
		for _, theme := range []string{"light", "dark"} {
			tb.theme(theme)
			tb.get(v.path)
			if v.name != "confirm" { // which does not change
				tb.soon("header .live", "live")
			}
			picture, err := chromedp.Call(tb.ctx, page.CaptureScreenshot,
				page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatWebp, Quality: &quality})
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(*pictures, v.name+"-"+theme+".webp")
			if err := os.WriteFile(file, picture.Data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
