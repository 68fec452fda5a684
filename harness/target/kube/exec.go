package kube

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/oomlab/oomlab/harness/agent/wire"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/target"
)

// execLine is the line to an agent that was started by exec in a pod: package
// wire over the streams of one HTTP connection.
type execLine struct {
	in     *io.PipeWriter
	said   chan []byte
	ended  chan struct{} // closed when the stream is
	err    error         // why; set before ended is closed
	stderr lockedTail
	cancel context.CancelFunc
}

// maxLine bounds a line from the agent.
const maxLine = 8 << 20

// openExec starts a program in a container of a pod. It lives until close, or
// until the connection breaks.
func openExec(ctx context.Context, config *rest.Config, set *kubernetes.Clientset,
	namespace, pod string, argv []string) (*execLine, error) {
	socket, err := execIn(config, set, namespace, pod, argv)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	l := &execLine{in: inW, said: make(chan []byte), ended: make(chan struct{}), cancel: cancel}
	go func() {
		err := socket.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: inR, Stdout: outW, Stderr: &l.stderr})
		if err == nil {
			err = io.EOF
		}
		outW.CloseWithError(err)
		inR.CloseWithError(err)
	}()
	go func() {
		defer close(l.ended)
		lines := bufio.NewScanner(outR)
		lines.Buffer(make([]byte, 64<<10), maxLine)
		lines.Split(wire.ScanLines)
		for lines.Scan() {
			select {
			case l.said <- bytes.Clone(lines.Bytes()):
			case <-ctx.Done():
				l.err = ctx.Err()
				return
			}
		}
		if l.err = lines.Err(); l.err == nil {
			l.err = io.EOF
		}
	}()
	return l, nil
}

// execIn is what starts a program in the agent's container of a pod.
func execIn(config *rest.Config, set *kubernetes.Clientset, namespace, pod string,
	argv []string) (remotecommand.Executor, error) {
	config = rest.CopyConfig(config)
	config.Timeout = 0 // it lasts as long as the program
	req := set.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: agentContainer, Command: argv, Stdin: true, Stdout: true, Stderr: true,
		}, scheme.ParameterCodec)
	return remotecommand.NewWebSocketExecutor(config, "GET", req.URL().String())
}

// next is the next line that the agent says.
func (l *execLine) next(ctx context.Context) ([]byte, error) {
	select {
	case line := <-l.said:
		return line, nil
	case <-l.ended:
		err := fmt.Errorf("the connection to the node's agent ended: %w", l.err)
		if text := l.stderr.String(); text != "" {
			err = fmt.Errorf("%w; it said: %s", err, text)
		}
		return nil, err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (l *execLine) hello(ctx context.Context, within time.Duration) (wire.Hello, error) {
	var hello wire.Hello
	ctx, cancel := context.WithTimeoutCause(ctx, within,
		fmt.Errorf("the node's agent did not say hello within %s", within))
	defer cancel()
	line, err := l.next(ctx)
	if err != nil {
		return hello, err
	}
	if err := json.Unmarshal(line, &hello); err != nil {
		return hello, fmt.Errorf("the agent's first line %.200q is no hello: %w", line, err)
	}
	if hello.Protocol != wire.Protocol {
		return hello, fmt.Errorf("the agent speaks protocol %d, and %d is wanted; load the images of this oomlab",
			hello.Protocol, wire.Protocol)
	}
	return hello, nil
}

func (l *execLine) write(v any) error {
	data, err := json.Marshal(v)
	if err == nil {
		_, err = l.in.Write(append(data, '\n'))
	}
	return err
}

// Ask implements line.
func (l *execLine) Ask(ctx context.Context, req wire.Request, sink func(evidence.Event)) error {
	if req.Watch == nil {
		return errors.New("a cluster's agent only watches")
	}
	req.WallNS = 0 // the node's clock is its owner's
	if err := l.write(req); err != nil {
		return err
	}
	for count := 0; ; {
		line, err := l.next(ctx)
		if err != nil {
			return err
		}
		var m wire.Message
		if err := json.Unmarshal(line, &m); err != nil {
			return fmt.Errorf("the agent said %.200q, which is no message: %w", line, err)
		}
		switch {
		case m.ID != req.ID:
			return fmt.Errorf("the agent answers request %d, and %d was asked", m.ID, req.ID)
		case m.Events != nil:
			count += len(m.Events)
			for _, e := range m.Events {
				sink(e)
			}
		case m.Lacks != "":
			return &target.Missing{What: m.Lacks, Hint: m.Hint}
		case m.Error != "":
			return errors.New(m.Error)
		case m.Done && m.Sum != count:
			return fmt.Errorf("the agent sent %d events and %d arrived", m.Sum, count)
		case m.Done:
			return nil
		}
	}
}

// Enough implements line.
func (l *execLine) Enough(id int) error { return l.write(wire.Request{ID: id, Enough: true}) }

// quitWait is for an agent to put back what it has changed on its node.
const quitWait = 10 * time.Second

// close ends the agent, which sees the end of its input, and waits for that.
func (l *execLine) close() {
	l.in.Close()
	timer := time.NewTimer(quitWait)
	defer timer.Stop()
	select {
	case <-l.ended:
	case <-timer.C:
	}
	l.cancel()
}

// lockedTail keeps the end of what is written to it.
type lockedTail struct {
	mu   sync.Mutex
	data []byte
}

func (t *lockedTail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	const most = 2 << 10
	t.data = append(t.data, b...)
	t.data = t.data[max(0, len(t.data)-most):]
	return len(b), nil
}

func (t *lockedTail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.data))
}
