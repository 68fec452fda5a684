package main

import (
	"io"
	"testing"
)

// TestTheKeeperTakesItsFlags: what cluster up starts in the background is a command that takes
// the flags it is given, whatever was left out.
func TestTheKeeperTakesItsFlags(t *testing.T) {
	for _, f := range []clusterFlags{
		{kernel: "6.12", memory: "4Gi", nodes: 1, lifetime: 1},
		{kernel: "6.12", memory: "4Gi", nodes: 2, container: true, lifetime: 1},
		{kernel: "6.12", memory: "4Gi", nodes: 1, kind: "default.yaml", lifetime: 1},
	} {
		a := &app{out: io.Discard, err: io.Discard}
		cmd, args, err := a.root().Find(f.keep())
		if err != nil || cmd.Name() != "keep" {
			t.Fatalf("%q: %v, %v", f.keep(), cmd.Name(), err)
		}
		if err := cmd.ParseFlags(args); err != nil {
			t.Errorf("%q: %v", f.keep(), err)
		}
		if err := a.begin(cmd, nil); err != nil {
			t.Errorf("%q: %v", f.keep(), err)
		}
		if len(cmd.Flags().Args()) > 0 {
			t.Errorf("%q: %q is left", f.keep(), cmd.Flags().Args())
		}
	}
}
