package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"k8s.io/client-go/tools/remotecommand"

	"github.com/oomlab/oomlab/harness/target/kube/image"
)

// loadWait is for a node to import an archive; an emulated one takes minutes for a large one.
const loadWait = 20 * time.Minute

// Load has the containerd of a node import the images of an archive. The node has oomlab's
// own images already.
func (c *Cluster) Load(ctx context.Context, node string, archive io.Reader) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, loadWait,
		fmt.Errorf("node %s did not import the archive within %s", node, loadWait))
	defer cancel()
	w := c.where
	w.Node = node
	s := &site{config: c.config}
	api, set, err := s.client()
	if err != nil {
		return err
	}
	n, err := w.pick(ctx, api)
	if err != nil {
		return err
	}
	at := c.placing(n)
	at.run = label("load", at.suffix)
	defer func() { err = errors.Join(err, c.dismiss(ctx, at.node)) }()
	if err := c.place(ctx, api, at); err != nil {
		return err
	}
	if err := at.awaitAgent(ctx, api, agentWait); err != nil {
		return err
	}
	socket, err := execIn(c.config, set, at.namespace, at.agentName(), []string{image.AgentPath, "import", hostRoot})
	if err != nil {
		return err
	}
	var said, wrong lockedTail
	streams := remotecommand.StreamOptions{Stdin: archive, Stdout: &said, Stderr: &wrong}
	if err := socket.StreamWithContext(ctx, streams); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		if text := cmp.Or(wrong.String(), said.String()); text != "" {
			err = fmt.Errorf("%w; it said: %s", err, text)
		}
		return fmt.Errorf("node %s: import: %w", node, err)
	}
	return nil
}
