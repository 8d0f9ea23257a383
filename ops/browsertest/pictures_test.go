package browsertest

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/strunk-go/strunk/internal/testkit"
	"github.com/strunk-go/strunk/schedule"
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
	b.use(t)
	for _, v := range views {
		t.Run(v.name, func(t *testing.T) { takePictures(t, b.open(t, b.operator), v.name, v.path) })
	}
}

// use has every loop run once, and a few things done on the page, so that the pictures show an installation in use.
func (b *bed) use(t *testing.T) {
	t.Helper()
	testkit.Run(t, func(ctx context.Context) error { return openBox(t, b.pool).Run(ctx, schedule.Runner()) })
	tb := b.open(t, b.operator)
	testkit.EventuallyState(t, "every loop has run", func() (string, bool) {
		text := tb.get("./").text("main")
		return text, !strings.Contains(text, "it has never run") && !strings.Contains(text, "nobody has counted")
	})
	tb.confirm("op=job_retry&status=dead&queue=bulk", map[string]string{"per_second": "2"})
	tb.confirm("op=set_limits&queue=emails", map[string]string{"running": "6"})
	tb.confirm("op=set_priority&ids=1&ids=2", map[string]string{"priority": "7"})
	tb.confirm("op=run_schedule&schedule=daily-report", nil)
	tb.confirm("op=pause_queue&queue=imports", map[string]string{"reason": "the supplier is away"})
}

// takePictures makes the pictures of a view in both themes.
func takePictures(t *testing.T, tb *tab, name, path string) {
	t.Helper()
	for _, theme := range []string{"light", "dark"} {
		tb.theme(theme)
		testkit.Eventually(t, "the navigation counts", func() bool {
			tb.get(path)
			return ask[bool](tb, `document.querySelectorAll('nav .b').length > 1`)
		})
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
