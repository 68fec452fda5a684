//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/e2e-framework/klient/k8s/resources"

	"github.com/oomlab/oomlab/harness/target/kube"
	"github.com/oomlab/oomlab/harness/target/kube/image"
	"github.com/oomlab/oomlab/harness/trace"
)

var kindFlag = flag.String("oomlab.kind", "", "configuration of the kind cluster in a VM that is traced; empty: a VM "+
	"cluster")

// docs/tracing/daemonset.yaml on a real cluster: whoever asks for its log, or runs oomlab
// trace --kube, is told of a kill with the pod's namespace and name.
var _ = Describe("kube/ a cluster that is traced", Ordered, Serial, Label("kube", "traced"), func() {
	const scenario = "kube/guaranteed-over-its-own-limit"
	var config string
	var api *resources.Resources

	BeforeAll(func(ctx SpecContext) {
		up := []string{"cluster", "up", "--for", "1h"}
		if *kindFlag != "" {
			up = append(up, "--kind", *kindFlag)
		}
		code, out := oomlab(ctx, up...)
		Expect(code).To(BeZero(), out)
		DeferCleanup(func(ctx SpecContext) {
			code, out := oomlab(ctx, "cluster", "down")
			Expect(code).To(BeZero(), out)
		}, NodeTimeout(time.Minute))
		var err error
		config, err = kube.StateFile("kubeconfig")
		Expect(err).NotTo(HaveOccurred())
		rest, err := clientcmd.BuildConfigFromFlags("", config)
		Expect(err).NotTo(HaveOccurred())
		api, err = resources.New(rest)
		Expect(err).NotTo(HaveOccurred())
	}, NodeTimeout(65*time.Minute))

	It("loads the image and starts the tracer", func(ctx SpecContext) {
		archive := filepath.Join(GinkgoT().TempDir(), "oomlab.tar")
		code, out := oomlab(ctx, "cluster", "images", "--trace", archive)
		Expect(code).To(BeZero(), out)
		code, out = oomlab(ctx, "cluster", "load", archive)
		Expect(code).To(BeZero(), out)
		Expect(out).To(ContainSubstring(image.TraceImage))
		manifest, err := os.Open("../../docs/tracing/daemonset.yaml")
		Expect(err).NotTo(HaveOccurred())
		defer manifest.Close()
		for documents := yaml.NewYAMLReader(bufio.NewReader(manifest)); ; {
			document, err := documents.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			Expect(err).NotTo(HaveOccurred())
			object, _, err := scheme.Codecs.UniversalDeserializer().Decode(document, nil, nil)
			Expect(err).NotTo(HaveOccurred())
			switch o := object.(type) {
			case *corev1.Namespace: // a VM cluster has it
				err := api.Create(ctx, o)
				Expect(apierrors.IsAlreadyExists(err) || err == nil).To(BeTrue(), "%v", err)
			case *appsv1.DaemonSet:
				if *kindFlag == "" { // no controller would make its pod
					Expect(api.Create(ctx, podOf(o))).To(Succeed())
					continue
				}
				Expect(api.Create(ctx, o)).To(Succeed())
			default:
				Fail(fmt.Sprintf("%T is not expected there", o))
			}
		}
		Eventually(ctx, func() ([]corev1.PodPhase, error) { return phases(ctx, api) }).
			WithTimeout(5 * time.Minute).WithPolling(time.Second).Should(ConsistOf(corev1.PodRunning))
	}, SpecTimeout(15*time.Minute))

	It("tells of a kill in a pod, by its namespace and name", func(ctx SpecContext) {
		said := gbytes.NewBuffer()
		var kills bytes.Buffer
		tracer := exec.CommandContext(ctx, binary,
			"trace", "--kube", "--kubeconfig", config, "--count", "1", "-o", "json")
		tracer.Stdout, tracer.Stderr = &kills, said
		Expect(tracer.Start()).To(Succeed())
		DeferCleanup(func() { _ = tracer.Process.Kill() }) // it has ended, unless this fails
		Eventually(ctx, said).WithTimeout(time.Minute).Should(gbytes.Say("watching "))

		code, out := oomlab(ctx, "run", "--runs-dir", GinkgoT().TempDir(), "--kubeconfig", config, scenario)
		Expect(code).To(BeZero(), out)
		Expect(tracer.Wait()).To(Succeed(), string(said.Contents()))
		var k trace.Kill
		Expect(json.Unmarshal(kills.Bytes(), &k)).To(Succeed(), kills.String())
		Expect(k.Node).NotTo(BeEmpty())
		Expect(k.Victim.Namespace).To(Equal(image.Namespace))
		Expect(k.Victim.Pod).To(HavePrefix("db-"))
		Expect(k.Victim.Kubernetes.QoS).To(Equal("Guaranteed"))
		Expect(k.Constraint).To(Equal("memcg"))
	}, SpecTimeout(15*time.Minute))
})

// phases are those of the tracers' pods.
func phases(ctx context.Context, api *resources.Resources) ([]corev1.PodPhase, error) {
	var pods corev1.PodList
	if err := api.WithNamespace(image.Namespace).List(ctx, &pods,
		resources.WithLabelSelector(kube.TraceSelector)); err != nil {
		return nil, err
	}
	var out []corev1.PodPhase
	for _, p := range pods.Items {
		out = append(out, p.Status.Phase)
	}
	return out, nil
}

// podOf is the pod of a DaemonSet on the node of a VM cluster, whose pods have its network.
func podOf(set *appsv1.DaemonSet) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: set.Name, Namespace: set.Namespace, Labels: set.Spec.Template.Labels},
		Spec:       set.Spec.Template.Spec,
	}
	pod.Spec.NodeName, pod.Spec.HostNetwork = image.NodeName, true
	return pod
}
