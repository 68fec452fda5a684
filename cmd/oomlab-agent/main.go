// Command oomlab-agent carries out plans on the machine it runs on.
//
// In a virtual machine it is PID 1: it sets the machine up, says Hello on the
// device that the kernel command line names, and serves requests. Elsewhere it
// serves on standard input and output. Either way it speaks package wire.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/oomlab/oomlab/harness/agent"
	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/guest"
)

const usage = `usage: oomlab-agent serve [STRESSOR]
       oomlab-agent node ROOT STRESSOR
       oomlab-agent import ROOT
       oomlab-agent version

serve carries out plans that it reads as lines of JSON from standard input, and
answers on standard output. STRESSOR is the stressor's binary; without it, the
one called oomlab-stressor beside this program.

node watches the node of a cluster in the same way, from a privileged pod that
has the node's file system at ROOT.

import has containerd of the node take the images of an archive that it reads from
standard input, in such a pod as well.

exit status: 0 the line ended, 64 usage, 70 the line or the machine failed
`

// Exit statuses, those of oomlab.
const (
	exitUsage  = 64
	exitBroken = 70
)

func main() {
	if os.Getpid() == 1 {
		guest.Main()
		return
	}
	os.Exit(command(os.Args[1:]))
}

func command(args []string) int {
	var err error
	switch {
	case len(args) == 1 && args[0] == "version":
		fmt.Println("oomlab-agent", wire.Build())
	case len(args) == 2 && args[0] == "channel":
		err = guest.ServeNode(args[1])
	case len(args) == 2 && args[0] == "userland":
		err = guest.ServeUserland(args[1])
	case len(args) == 3 && args[0] == "node":
		err = agent.ServePod(context.Background(), args[1], args[2], os.Stdin, os.Stdout)
	case len(args) == 2 && args[0] == "import":
		err = agent.Import(args[1])
	case len(args) >= 1 && len(args) <= 2 && args[0] == "serve":
		stressor := ""
		if len(args) == 2 {
			stressor = args[1]
		}
		err = serve(stressor)
	case len(args) == 1 && (args[0] == "help" || args[0] == "-h" || args[0] == "--help"):
		fmt.Print(usage)
	default:
		fmt.Fprint(os.Stderr, usage)
		return exitUsage
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "oomlab-agent:", err)
		return exitBroken
	}
	return 0
}

func serve(stressor string) error {
	if stressor == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		stressor = filepath.Join(filepath.Dir(self), "oomlab-stressor")
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	a, err := agent.New(ctx, agent.Options{Stressor: stressor, ScratchDir: "/run/oomlab", Own: true})
	if err != nil {
		return err
	}
	return errors.Join(a.Serve(ctx, os.Stdin, os.Stdout), a.Close())
}
