package browser

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// logs are recorded reports.
const logs = "../../../harness/oomlog/testdata/"

// patience is for one step on a busy machine.
const patience = 30 * time.Second

// tab is the page in a browser. What its console says is an error of the test, and so is
// each request for anything but files and data.
type tab struct {
	*testing.T
	ctx context.Context
	url string
}

// pageFile is the page, made once.
var pageFile string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "oomlab-browser-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		if _, err := chromium(); err == nil {
			pageFile = filepath.Join(dir, "oomlab.html")
			cmd := exec.Command("go", "run", "./cmd/oomlab-page", pageFile)
			cmd.Dir = "../../.."
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			if err := cmd.Run(); err != nil {
				fmt.Fprintln(os.Stderr, "make the page:", err)
				return 1
			}
		}
		return m.Run()
	}())
}

func chromium() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("there is no chromium on this machine: apt-get install chromium")
}

func open(t *testing.T) *tab {
	t.Helper()
	path, err := chromium()
	if err != nil {
		t.Skip(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox,
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND"), chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.WSURLReadTimeout(patience))
	ctx, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, stop = chromedp.NewContext(ctx)
	t.Cleanup(stop)
	b := &tab{t, ctx, "file://" + pageFile}
	if err := chromedp.Run(ctx); err != nil { // starts the browser, which ends with its first context
		t.Fatal(err)
	}
	chromedp.ListenTarget(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventConsoleAPICalled:
			t.Errorf("the console says (%s): %s", e.Type, e.Args[0].Value)
		case *runtime.EventExceptionThrown:
			t.Errorf("an exception: %v", e.ExceptionDetails)
		case *log.EventEntryAdded:
			t.Errorf("the console says (%s): %s", e.Entry.Level, e.Entry.Text)
		case *network.EventRequestWillBeSent:
			if u := e.Request.URL; !strings.HasPrefix(u, "file:") && !strings.HasPrefix(u, "data:") {
				t.Errorf("the page asks for %s", u)
			}
		}
	})
	b.do(log.Enable(), network.Enable(), chromedp.Navigate(b.url))
	b.status("Ready.")
	return b
}

func (b *tab) do(actions ...chromedp.Action) {
	b.Helper()
	ctx, stop := context.WithTimeout(b.ctx, patience)
	defer stop()
	if err := chromedp.Run(ctx, actions...); err != nil {
		b.Fatal(err)
	}
}

// status waits until the page says so.
func (b *tab) status(want string) {
	b.Helper()
	b.await("#status", want)
}

// await waits until the text of an element has these words.
func (b *tab) await(selector, want string) {
	b.Helper()
	ctx, stop := context.WithTimeout(b.ctx, patience)
	defer stop()
	var ok bool
	err := chromedp.Run(ctx, chromedp.Poll(fmt.Sprintf("(document.querySelector(%q)?.textContent ?? '').includes(%q)",
		selector, want), &ok, chromedp.WithPollingTimeout(patience)))
	if err != nil {
		b.Fatalf("%s never says %q: %v\nit says: %s", selector, want, err, b.text(selector))
	}
}

func (b *tab) text(selector string) (out string) {
	b.Helper()
	b.do(chromedp.Evaluate(fmt.Sprintf("document.querySelector(%q)?.textContent ?? ''", selector), &out))
	return out
}

func (b *tab) has(selector string, want ...string) {
	b.Helper()
	got := b.text(selector)
	for _, w := range want {
		if !strings.Contains(got, w) {
			b.Errorf("%s lacks %q:\n%.1500s", selector, w, got)
		}
	}
}

// command presses a key that the browser's own editing answers: paste, copy, selectAll.
func (b *tab) command(name string) {
	b.Helper()
	key := map[string]string{"paste": "v", "copy": "c", "selectAll": "a"}[name]
	down := input.DispatchKeyEvent(input.KeyRawDown).WithKey(key).WithModifiers(input.ModifierCtrl)
	b.do(down.WithCommands([]string{name}),
		input.DispatchKeyEvent(input.KeyUp).WithKey(key).WithModifiers(input.ModifierCtrl))
}

// paste puts a text where the cursor is by way of the clipboard.
func (b *tab) paste(text string) {
	b.Helper()
	b.do(chromedp.Evaluate(`document.body.insertAdjacentHTML("beforeend", "<textarea id=source></textarea>"); 0`, nil),
		chromedp.Focus("#source"), input.InsertText(text))
	b.command("selectAll")
	b.command("copy")
	b.do(chromedp.Evaluate(`document.getElementById("source").remove(); 0`, nil), chromedp.Focus("#log"))
	b.command("selectAll")
	b.command("paste")
}

func recorded(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(logs + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// drop drops a file on the page, as a person does from a file manager.
func (b *tab) drop(name string, data []byte) {
	b.Helper()
	file := filepath.Join(b.TempDir(), name)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		b.Fatal(err)
	}
	what := &input.DragData{Items: []*input.DragDataItem{}, Files: []string{file}, DragOperationsMask: 1}
	for _, kind := range []input.DispatchDragEventType{input.DragEnter, input.DragOver, input.Drop} {
		b.do(input.DispatchDragEvent(kind, 300, 200, what))
	}
}

func TestPasted(t *testing.T) {
	b := open(t)
	b.paste(recorded(t, "linux-6.18-memcg.log"))
	b.status("One report.")
	b.has("#report", "hog1 (pid 107)", "reached its limit of 40Mi", "agrees", "Held by no process", "As text")

	// the slider by key, and the field beside it
	b.do(chromedp.Focus("input[name=adj]"), chromedp.KeyEvent(kb.Home))
	b.await("output.answer", "sh (pid 105) would have been killed")
	b.do(chromedp.Focus("input[name=adj]"), chromedp.KeyEvent(kb.End))
	b.await("output.answer", "hog1 (pid 107) would have been killed")
	b.do(chromedp.Click("button[type=reset]"))
	b.await("output.answer", "")
	b.do(chromedp.Focus("input[name=without]"), input.InsertText("hog1"))
	b.await("output.answer", "sh (pid 105) would have been killed")
	b.do(chromedp.Focus("input[name=limitn]"), input.InsertText("half"))
	b.await("output.answer", "limit=half")
	b.command("selectAll")
	b.do(input.InsertText("1Gi"))
	b.await("output.answer", "would not have been full yet")

	b.do(chromedp.Click("#markdown"))
	b.await("#copied", "Cop")
	b.do(chromedp.Focus("#log"))
	b.command("selectAll")
	b.command("paste")
	var md string
	b.do(chromedp.Value("#log", &md))
	for _, want := range []string{"### OOM 1", "| killed | 107 | hog1 | 10344 |", "without=hog1"} {
		if !strings.Contains(md, want) {
			t.Errorf("the Markdown lacks %q:\n%s", want, md)
		}
	}
}

func TestDroppedAndSummarized(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	for range 3 {
		fmt.Fprint(z, recorded(t, "linux-6.18-memcg.log"))
	}
	fmt.Fprint(z, recorded(t, "linux-6.18-group.log"))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	b := open(t)
	b.drop("node.log.gz", packed.Bytes())
	b.status("4 reports.")
	b.has("#summary", "All reports together", "hog1", "Who died, most often first")
	b.do(chromedp.Click("#reports li:nth-child(4) button"))
	b.await("#report h2", "OOM 4")
	var focused string
	b.do(chromedp.Evaluate("document.activeElement.textContent", &focused))
	if !strings.HasPrefix(focused, "OOM 4") {
		t.Errorf("the focus is on %q", focused)
	}
	b.drop("oomlab", []byte("\x7fELF\x02\x01\x01\x00"))
	b.status("is an executable")
	b.drop("empty", []byte("nothing\n"))
	b.status("There is no OOM report")
}

// TestLink: the link that is copied shows the same report, with what was asked about it,
// in another tab; a damaged one says so.
func TestLink(t *testing.T) {
	b := open(t)
	b.do(chromedp.Focus("#log"), input.InsertText(recorded(t, "linux-6.18-memcg.log")), chromedp.Click("#input .main"))
	b.status("One report.")
	b.do(chromedp.Focus("input[name=adj]"), chromedp.KeyEvent(kb.Home), chromedp.Click("#link"))
	b.await("#copied", "link")
	var url string
	b.do(chromedp.Location(&url))
	b.do(chromedp.Navigate("about:blank"), chromedp.Navigate(url))
	b.await("#report", "hog1 (pid 107)")
	b.await("output.answer", "sh (pid 105) would have been killed")
	b.do(chromedp.Navigate("about:blank"), chromedp.Navigate(b.url+"#log=%25%25"))
	b.status("The link is damaged")
	b.do(chromedp.Navigate("about:blank"), chromedp.Navigate(url[:len(url)*2/3]))
	b.status("gzip")
}

// TestReadable: what a screen reader needs has a name, and no width scrolls sideways.
func TestReadable(t *testing.T) {
	b := open(t)
	b.paste(recorded(t, "linux-4.19-global.log"))
	b.status("One report.")
	for _, width := range []int64{320, 390, 768, 1280} {
		var got int64
		b.do(emulation.SetDeviceMetricsOverride(width, 800, 1, width < 500),
			chromedp.Evaluate("document.documentElement.scrollWidth", &got))
		if got > width {
			t.Errorf("at %d pixels the page is %d wide", width, got)
		}
	}
	type value struct {
		Value any `json:"value"`
	}
	var tree struct {
		Nodes []struct {
			Ignored bool  `json:"ignored"`
			Role    value `json:"role"`
			Name    value `json:"name"`
		} `json:"nodes"`
	}
	b.do(chromedp.ActionFunc(func(ctx context.Context) error {
		return cdp.Execute(ctx, "Accessibility.getFullAXTree", nil, &tree)
	}))
	roles := map[string]int{}
	for _, n := range tree.Nodes {
		role := fmt.Sprint(n.Role.Value)
		if n.Ignored {
			continue
		}
		roles[role]++
		switch role {
		case "button", "slider", "textbox", "spinbutton", "combobox", "region", "table", "form", "navigation", "image":
			if n.Name.Value == nil || n.Name.Value == "" {
				t.Errorf("a %s has no name", role)
			}
		}
	}
	for role, least := range map[string]int{
		"button": 4, "slider": 1, "heading": 4, "status": 2, "table": 1, "main": 1,
	} {
		if roles[role] < least {
			t.Errorf("%d of role %s, want at least %d; there are %v", roles[role], role, least, roles)
		}
	}
	// the keyboard alone: Ctrl+Enter in the field explains
	b.do(chromedp.Focus("#log"))
	b.command("selectAll")
	b.do(input.InsertText(recorded(t, "linux-6.18-memcg.log")),
		input.DispatchKeyEvent(input.KeyRawDown).WithKey("Enter").WithModifiers(input.ModifierCtrl))
	b.await("#report", "hog1 (pid 107)")
}

// TestScreenshots takes the pictures of make screenshots.
func TestScreenshots(t *testing.T) {
	dir := os.Getenv("OOMLAB_TEST_SCREENSHOTS")
	if dir == "" {
		t.Skip("OOMLAB_TEST_SCREENSHOTS names no directory for pictures")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, shot := range []struct {
		name, log, scheme string
		width, height     int64
		full              bool
	}{
		{"explain-page", "kubernetes.log", "light", 1000, 1340, false},
		{"page-light", "kubernetes.log", "light", 1280, 800, true},
		{"page-dark", "linux-4.19-global.log", "dark", 1280, 800, true},
		{"page-phone", "kubernetes.log", "light", 390, 800, true},
		{"page-phone-dark", "linux-6.18-group.log", "dark", 390, 800, true},
		{"page-empty", "", "light", 1280, 800, false},
	} {
		b := open(t)
		b.do(emulation.SetDeviceMetricsOverride(shot.width, shot.height, 1, shot.width < 500),
			emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{
				{Name: "prefers-color-scheme", Value: shot.scheme}}))
		if shot.log != "" {
			name := logs + shot.log
			if shot.log == "kubernetes.log" {
				name = "testdata/kubernetes.log"
			}
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			b.paste(string(text))
			b.await("#report h2", "OOM 1")
			if shot.full {
				b.do(chromedp.Focus("input[name=adj]"), chromedp.KeyEvent(kb.ArrowLeft))
			}
			b.do(chromedp.Evaluate("scrollTo(0, 0)", nil))
		}
		var png []byte
		b.do(chromedp.ActionFunc(func(ctx context.Context) (err error) {
			png, err = page.CaptureScreenshot().WithCaptureBeyondViewport(shot.full).Do(ctx)
			return err
		}))
		if shot.full {
			b.do(chromedp.FullScreenshot(&png, 100))
		}
		if err := os.WriteFile(filepath.Join(dir, shot.name+".png"), png, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
