//go:build js && wasm

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"syscall/js"

	"github.com/oomlab/oomlab/harness/explain"
	"github.com/oomlab/oomlab/harness/explain/view"
	"github.com/oomlab/oomlab/harness/oomlog"
	"github.com/oomlab/oomlab/harness/oomlog/unpack"
)

// maxKept reports are kept to be shown; the summary is of all of them.
const maxKept = 500

// app is the log that the page shows.
type app struct {
	cancel  context.CancelFunc // ends the reading of the log before it
	kept    []kept
	summary explain.Summary
}

// kept is a report, and what the reports before it killed.
type kept struct {
	report view.Report
	ask    func([]explain.Change) explain.Explanation
}

// main gives the page's script its functions, and stays for their calls.
func main() {
	a := &app{cancel: func() {}}
	js.Global().Set("oomlab", js.ValueOf(map[string]any{
		// read(reader of a ReadableStream, progress(bytes, reports)) is a promise of
		// {reports, kept, list, summary} or {error, hint}
		"read":     js.FuncOf(a.read),
		"show":     js.FuncOf(a.show),     // show(n): the article about report n, as HTML
		"whatIf":   js.FuncOf(a.whatIf),   // whatIf(n, changes): the answer as HTML
		"markdown": js.FuncOf(a.markdown), // markdown(n, changes): for a ticket
	}))
	js.Global().Call("oomlabReady")
	select {}
}

func (a *app) read(_ js.Value, args []js.Value) any {
	reader, progress := args[0], args[1]
	a.cancel()
	ctx, cancel := context.WithCancel(context.Background())
	*a = app{cancel: cancel}
	var settle js.Func
	settle = js.FuncOf(func(_ js.Value, promise []js.Value) any {
		resolve := promise[0]
		go func() {
			defer settle.Release()
			resolve.Invoke(a.readAll(&stream{ctx: ctx, reader: reader}, progress))
		}()
		return nil
	})
	return js.Global().Get("Promise").New(settle)
}

func (a *app) readAll(in *stream, progress js.Value) any {
	text, err := unpack.Open(in)
	if err == nil {
		err = a.reports(text, func() { progress.Invoke(in.n, a.summary.Reports) })
	}
	var unreadable *unpack.Error
	switch {
	case errors.As(err, &unreadable):
		text := unreadable.Error()
		return map[string]any{"error": strings.ToUpper(text[:1]) + text[1:] + ".", "hint": unreadable.Hint}
	case err != nil:
		return map[string]any{"error": err.Error(), "hint": ""}
	}
	var all []view.Report
	for _, k := range a.kept {
		all = append(all, k.report)
	}
	list, err := view.List(all)
	if err != nil {
		return map[string]any{"error": err.Error(), "hint": ""}
	}
	summary, err := view.Summary(&a.summary)
	if err != nil {
		return map[string]any{"error": err.Error(), "hint": ""}
	}
	return map[string]any{"reports": a.summary.Reports, "kept": len(a.kept), "list": string(list),
		"summary": string(summary)}
}

func (a *app) reports(text io.Reader, progress func()) error {
	var x explain.Explainer
	for r, err := range oomlog.Reports(text) {
		if err != nil {
			return err
		}
		before := x.Clone()
		e := x.Explain(r)
		a.summary.Add(e)
		if len(a.kept) < maxKept {
			a.kept = append(a.kept, kept{
				view.Report{N: a.summary.Reports, Explanation: e, Ask: true},
				func(changes []explain.Change) explain.Explanation {
					x := before.Clone()
					x.Options.WhatIf = changes
					return x.Explain(r)
				},
			})
		}
		progress()
	}
	return nil
}

// at is the report that a script asks for.
func (a *app) at(n js.Value) (kept, bool) {
	i := n.Int() - 1
	if i < 0 || i >= len(a.kept) {
		return kept{}, false
	}
	return a.kept[i], true
}

func (a *app) show(_ js.Value, args []js.Value) any {
	k, ok := a.at(args[0])
	if !ok {
		return ""
	}
	html, err := k.report.HTML()
	if err != nil {
		return err.Error()
	}
	return string(html)
}

// changes reads an array of changes. What is wrong with one is an error that names it.
func changes(list js.Value) (out []explain.Change, problem string) {
	for i := range list.Length() {
		text := strings.TrimSpace(list.Index(i).String())
		c, err := explain.ParseChange(text)
		if err != nil {
			return nil, text + ": " + err.Error()
		}
		out = append(out, c)
	}
	return out, ""
}

func (a *app) whatIf(_ js.Value, args []js.Value) any {
	k, ok := a.at(args[0])
	all, problem := changes(args[1])
	if !ok || problem != "" {
		return map[string]any{"error": problem}
	}
	if len(all) == 0 {
		return map[string]any{"html": ""}
	}
	html, err := view.Answer(k.ask(all))
	if err != nil {
		return map[string]any{"error": err.Error()}
	}
	return map[string]any{"html": string(html)}
}

func (a *app) markdown(_ js.Value, args []js.Value) any {
	k, ok := a.at(args[0])
	if !ok {
		return ""
	}
	if all, problem := changes(args[1]); problem == "" && len(all) > 0 {
		k.report.Explanation = k.ask(all)
	}
	var b bytes.Buffer
	if err := k.report.Markdown(&b); err != nil {
		return err.Error()
	}
	return b.String()
}

// stream reads a ReadableStream. Each read waits for a promise, so that the browser
// stays responsive.
type stream struct {
	ctx    context.Context
	reader js.Value
	rest   []byte
	n      int // bytes read
}

type chunk struct {
	data []byte
	err  error
}

func (s *stream) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		got := make(chan chunk, 1)
		then := js.FuncOf(func(_ js.Value, args []js.Value) any {
			if args[0].Get("done").Bool() {
				got <- chunk{err: io.EOF}
				return nil
			}
			value := args[0].Get("value")
			data := make([]byte, value.Get("length").Int())
			js.CopyBytesToGo(data, value)
			got <- chunk{data: data}
			return nil
		})
		failed := js.FuncOf(func(_ js.Value, args []js.Value) any {
			got <- chunk{err: errors.New(args[0].Call("toString").String())}
			return nil
		})
		s.reader.Call("read").Call("then", then, failed)
		c := <-got
		then.Release()
		failed.Release()
		if err := errors.Join(c.err, s.ctx.Err()); err != nil {
			if errors.Is(c.err, io.EOF) && s.ctx.Err() == nil {
				return 0, io.EOF
			}
			return 0, err
		}
		s.rest = c.data
		s.n += len(c.data)
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}
