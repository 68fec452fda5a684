// Package browser tests the page of cmd/oomlab-page in a real browser. It is a module of
// its own, so that what drives the browser is no dependency of oomlab.
package browser
