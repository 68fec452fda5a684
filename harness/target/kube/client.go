package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"sigs.k8s.io/e2e-framework/klient/k8s/resources"
)

// RunLabel is on everything that oomlab creates in a cluster; its value names
// the run. OwnLabel says that it is oomlab's, whatever the run.
const (
	RunLabel = "oomlab.dev/run"
	OwnLabel = "app.kubernetes.io/managed-by"
	Own      = "oomlab"
)

// client-go writes to standard error what goes wrong on streams that oomlab has
// closed already. What matters it returns.
func init() { klog.SetLogger(logr.Discard()) }

// requestTimeout bounds one request: an API server on a node that thrashes may
// be silent for long.
const requestTimeout = 15 * time.Second

// pollEvery is how often something is asked for that is awaited.
const pollEvery = 250 * time.Millisecond

func namespaceObject(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
		OwnLabel:                             Own,
		"pod-security.kubernetes.io/enforce": "privileged", "pod-security.kubernetes.io/warn": "baseline",
	}}}
}

// awaitReady waits until a cluster's API answers and the nodes are Ready.
func awaitReady(ctx context.Context, config *rest.Config, within time.Duration, nodes []string) error {
	config = rest.CopyConfig(config)
	config.Timeout = requestTimeout
	what := "the API to answer and " + strings.Join(nodes, " and ") + " to be Ready"
	// The API is asked what it can do before the first request; that is no
	// sooner than it answers at all.
	return await(ctx, within, what, func(ctx context.Context) error {
		r, err := resources.New(config)
		if err != nil {
			return err
		}
		for _, name := range nodes {
			var node corev1.Node
			if err := r.Get(ctx, name, "", &node); err != nil {
				return err
			}
			if !ready(node) {
				return fmt.Errorf("%s is not Ready", name)
			}
		}
		return nil
	})
}

// forGood is an error that will not go away by waiting.
type forGood struct{ error }

func (e forGood) Unwrap() error { return e.error }

// await tries until it works, or never will. When it is too late, the error says
// what was awaited and what the last attempt said that was not cut short.
func await(ctx context.Context, within time.Duration, what string, try func(context.Context) error) error {
	whole := ctx
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var last error
	for {
		err := try(ctx)
		var final forGood
		switch {
		case err == nil:
			return nil
		case errors.As(err, &final):
			return final.error
		case last == nil || ctx.Err() == nil:
			last = err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if whole.Err() != nil {
				return fmt.Errorf("waiting for %s: %w; at last: %w", what, context.Cause(whole), last)
			}
			return fmt.Errorf("waiting for %s: not within %s: %w", what, within, last)
		}
	}
}
