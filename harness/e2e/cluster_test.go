//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/oomlab/oomlab/harness/target/kube"
	"github.com/oomlab/oomlab/harness/target/kube/image"
	"github.com/oomlab/oomlab/harness/verdict"
)

// Whatever is wrong with a cluster, a run on it says what, gives no verdict about
// the kernel, and leaves nothing behind. The cluster is a real one, in a VM, that
// is used as somebody else's: by its kubeconfig.
var _ = Describe("kube/ a cluster where something is wrong", Ordered, ContinueOnFailure, Serial,
	Label("kube", "wrong"), func() {
		const scenario = "kube/guaranteed-over-its-own-limit"
		var config, runs string
		var set *kubernetes.Clientset

		BeforeAll(func(ctx SpecContext) {
			code, out := oomlab(ctx, "cluster", "up", "--memory", "2304Mi", "--for", "1h")
			Expect(code).To(BeZero(), out)
			var err error
			config, err = kube.StateFile("kubeconfig")
			Expect(err).NotTo(HaveOccurred())
			rest, err := clientcmd.BuildConfigFromFlags("", config)
			Expect(err).NotTo(HaveOccurred())
			set, err = kubernetes.NewForConfig(rest)
			Expect(err).NotTo(HaveOccurred())
			runs = GinkgoT().TempDir()
		}, NodeTimeout(35*time.Minute))
		AfterAll(func(ctx SpecContext) {
			code, out := oomlab(ctx, "cluster", "down")
			Expect(code).To(BeZero(), out)
		}, NodeTimeout(time.Minute))

		// wrong runs a scenario that cannot be judged, and looks afterwards.
		wrong := func(ctx context.Context, want string, args ...string) {
			GinkgoHelper()
			code, out := oomlab(ctx, append([]string{"run", "--runs-dir", runs}, args...)...)
			Expect(out).To(ContainSubstring(want))
			Expect(code).To(Equal(70), out)
			Expect(left(ctx, set)).To(BeEmpty())
		}
		// as is a kubeconfig for somebody who may do only what the rules say.
		as := func(ctx context.Context, user string, rules ...rbacv1.PolicyRule) string {
			GinkgoHelper()
			meta := metav1.ObjectMeta{Name: user}
			_, err := set.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules},
				metav1.CreateOptions{})
			Expect(err).NotTo(HaveOccurred())
			_, err = set.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
				ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
				Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}},
			}, metav1.CreateOptions{})
			Expect(err).NotTo(HaveOccurred())
			c, err := clientcmd.LoadFromFile(config)
			Expect(err).NotTo(HaveOccurred())
			for _, info := range c.AuthInfos {
				info.Impersonate = user
			}
			file := filepath.Join(GinkgoT().TempDir(), "kubeconfig")
			Expect(clientcmd.WriteToFile(*c, file)).To(Succeed())
			return file
		}
		// quota makes a namespace that has room for so many pods. There is no
		// controller that would count those it has; none is there.
		quota := func(ctx context.Context, name, pods string) {
			GinkgoHelper()
			_, err := set.CoreV1().Namespaces().Create(ctx,
				&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
			Expect(err).NotTo(HaveOccurred())
			hard := corev1.ResourceList{corev1.ResourcePods: resource.MustParse(pods)}
			q, err := set.CoreV1().ResourceQuotas(name).Create(ctx, &corev1.ResourceQuota{
				ObjectMeta: metav1.ObjectMeta{Name: "few"}, Spec: corev1.ResourceQuotaSpec{Hard: hard},
			}, metav1.CreateOptions{})
			Expect(err).NotTo(HaveOccurred())
			q.Status = corev1.ResourceQuotaStatus{Hard: hard,
				Used: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")}}
			_, err = set.CoreV1().ResourceQuotas(name).UpdateStatus(ctx, q, metav1.UpdateOptions{})
			Expect(err).NotTo(HaveOccurred())
		}
		// started runs a scenario, and returns when its first pod is there.
		started := func(ctx context.Context) (*exec.Cmd, *bytes.Buffer) {
			GinkgoHelper()
			var out bytes.Buffer
			cmd := exec.CommandContext(ctx, binary, "run", "--runs-dir", runs, "--kubeconfig", config, "-o", "json",
				scenario)
			cmd.Stdout, cmd.Stderr = &out, &out
			Expect(cmd.Start()).To(Succeed())
			Eventually(ctx, func() ([]string, error) { return names(ctx, set, kube.RunLabel) }).
				WithTimeout(3 * time.Minute).WithPolling(200 * time.Millisecond).Should(
				ContainElement(HavePrefix("pod idle-")))
			return cmd, &out
		}
		qemu := func() int {
			GinkgoHelper()
			s, err := kube.Up()
			Expect(err).NotTo(HaveOccurred())
			for pid := range descendants(s.PID) {
				return pid
			}
			Fail("the cluster's keeper has no child")
			return 0
		}

		It("does not answer", func(ctx SpecContext) {
			c, err := clientcmd.LoadFromFile(config)
			Expect(err).NotTo(HaveOccurred())
			for _, cluster := range c.Clusters {
				cluster.Server = "https://127.0.0.1:1"
			}
			file := filepath.Join(GinkgoT().TempDir(), "kubeconfig")
			Expect(clientcmd.WriteToFile(*c, file)).To(Succeed())
			wrong(ctx, "connection refused", "--kubeconfig", file, scenario)
		}, SpecTimeout(3*time.Minute))

		It("is not in the kubeconfig", func(ctx SpecContext) {
			code, out := oomlab(ctx, "run", "--runs-dir", runs, "--kubeconfig", config, "--context", "prod", scenario)
			Expect(out).To(ContainSubstring(`context prod: context "prod" does not exist`))
			Expect(code).To(Equal(64), out)
		}, SpecTimeout(time.Minute))

		It("does not let one look at its nodes", func(ctx SpecContext) {
			wrong(ctx, `nodes is forbidden: User "nobody" cannot list resource "nodes"`, "--kubeconfig",
				as(ctx, "nobody"), scenario)
		}, SpecTimeout(3*time.Minute))

		It("does not let one create pods", func(ctx SpecContext) {
			file := as(ctx, "onlooker", rbacv1.PolicyRule{APIGroups: []string{""},
				Resources: []string{"nodes", "namespaces", "pods"}, Verbs: []string{"get", "list"}})
			wrong(ctx, `User "onlooker" cannot create resource`, "--kubeconfig", file, scenario)
		}, SpecTimeout(3*time.Minute))

		It("has a quota that keeps the agent out", func(ctx SpecContext) {
			quota(ctx, "none", "0")
			wrong(ctx, "exceeded quota: few, requested: pods=1, used: pods=0, limited: pods=0", "--kubeconfig", config,
				"--namespace", "none", scenario)
		}, SpecTimeout(3*time.Minute))

		It("has a quota that keeps a scenario's pod out", func(ctx SpecContext) {
			quota(ctx, "one", "1")
			wrong(ctx, "exceeded quota: few, requested: pods=1, used: pods=1, limited: pods=1", "--kubeconfig", config,
				"--namespace", "one", scenario)
		}, SpecTimeout(5*time.Minute))

		It("does not have an image", func(ctx SpecContext) {
			file := filepath.Join(GinkgoT().TempDir(), "image.yaml")
			Expect(os.WriteFile(file, []byte(`apiVersion: oomlab/v1alpha1
kind: Scenario
summary: An image that nobody has.
pods:
  web:
    restartPolicy: Never
    containers:
      main: {image: "oomlab.invalid/none:1", command: [sleep, "60"], holds: 16Mi, limits: {memory: 64Mi}}
expect:
  killed: []
  pods: {web: {phase: Running}}
`), 0o644)).To(Succeed())
			wrong(ctx, "web/main: ErrImagePull", "--kubeconfig", config, file)
		}, SpecTimeout(5*time.Minute))

		It("holds what a killed run has left", func(ctx SpecContext) {
			cmd, _ := started(ctx)
			Expect(cmd.Process.Kill()).To(Succeed())
			Expect(cmd.Wait()).NotTo(Succeed())
			Expect(left(ctx, set)).NotTo(BeEmpty())
			code, out := oomlab(ctx, "clean", "--kubeconfig", config)
			Expect(code).To(BeZero(), out)
			Expect(out).To(And(ContainSubstring("deleted pod oomlab-agent-"), ContainSubstring("deleted pod idle-")))
			Expect(left(ctx, set)).To(BeEmpty())
			code, out = oomlab(ctx, "clean", "--kubeconfig", config)
			Expect(code).To(BeZero(), out)
			Expect(out).To(HavePrefix("nothing of oomlab's is in "))
		}, SpecTimeout(8*time.Minute))

		It("may not run out of memory, unless its node is named", func(ctx SpecContext) {
			args := []string{"run", "--runs-dir", runs, "--kubeconfig", config, "kube/bigmem-2000m-does-not"}
			code, out := oomlab(ctx, args...)
			Expect(out).To(ContainSubstring("--allow-node-oom " + image.NodeName))
			Expect(code).To(Equal(4), out)
			Expect(left(ctx, set)).To(BeEmpty())
			code, out = oomlab(ctx, append(args, "--allow-node-oom", image.NodeName)...)
			Expect(code).To(BeZero(), out)
			Expect(left(ctx, set)).To(BeEmpty())
		}, SpecTimeout(12*time.Minute))

		It("is a fleet of one", func(ctx SpecContext) {
			code, out := oomlab(ctx, "run", "--runs-dir", runs, "--kubeconfig", config, "--nodes",
				"kubernetes.io/os=linux", "--parallel", "2", "-o", "json",
				scenario, "kube/init-container-over-its-limit")
			Expect(code).To(BeZero(), out)
			Expect(strings.Count(out, `"name":"`+image.NodeName+`"`)).To(Equal(2), out)
			Expect(left(ctx, set)).To(BeEmpty())
			code, out = oomlab(ctx, "run", "--runs-dir", runs, "--kubeconfig", config, "--nodes", "pool=none", scenario)
			Expect(out).To(ContainSubstring("--nodes pool=none: no node of kubeconfig"))
			Expect(code).To(Equal(64), out)
		}, SpecTimeout(12*time.Minute))

		It("is silent for a while", func(ctx SpecContext) {
			pid := qemu()
			cmd, out := started(ctx)
			Expect(syscall.Kill(pid, syscall.SIGSTOP)).To(Succeed())
			select {
			case <-time.After(25 * time.Second): // the silence, longer than a request may take
			case <-ctx.Done():
			}
			Expect(syscall.Kill(pid, syscall.SIGCONT)).To(Succeed())
			Expect(cmd.Wait()).To(Succeed(), out.String())
			var result verdict.Result
			line := out.String()[strings.Index(out.String(), "{"):]
			Expect(json.NewDecoder(strings.NewReader(line)).Decode(&result)).To(Succeed())
			Expect(result.Kube.Outages).NotTo(BeEmpty(), line)
			Expect(left(ctx, set)).To(BeEmpty())
		}, SpecTimeout(8*time.Minute))

		It("loses its node", func(ctx SpecContext) {
			pid := qemu()
			cmd, out := started(ctx)
			Expect(syscall.Kill(pid, syscall.SIGKILL)).To(Succeed())
			err := cmd.Wait()
			var exit *exec.ExitError
			Expect(errors.As(err, &exit)).To(BeTrue(), "%v: %s", err, out)
			Expect(exit.ExitCode()).To(Equal(70), out.String())
			Expect(out.String()).To(ContainSubstring("the connection to the node's agent ended"))
			Eventually(ctx, func() error { _, err := kube.Up(); return err }).WithTimeout(20 * time.Second).Should(
				MatchError(kube.ErrDown))
		}, SpecTimeout(8*time.Minute))

		It("is the run's own, and loses its node", func(ctx SpecContext) {
			own := GinkgoT().TempDir()
			var out bytes.Buffer
			cmd := exec.CommandContext(ctx, binary, "run", "--runs-dir", own, scenario)
			cmd.Stdout, cmd.Stderr = &out, &out
			Expect(cmd.Start()).To(Succeed())
			Eventually(ctx, func() string {
				files, _ := filepath.Glob(filepath.Join(own, "*", verdict.EventsFile))
				if len(files) == 0 {
					return "" // it restores the node
				}
				data, _ := os.ReadFile(files[0])
				return string(data)
			}).WithTimeout(5 * time.Minute).WithPolling(200 * time.Millisecond).Should(
				ContainSubstring(`"kind":"pod_status"`))
			family := descendants(cmd.Process.Pid)
			for pid := range family {
				Expect(syscall.Kill(pid, syscall.SIGKILL)).To(Succeed())
			}
			Expect(cmd.Wait()).NotTo(Succeed())
			Expect(cmd.ProcessState.ExitCode()).To(Equal(70), out.String())
			Expect(out.String()).To(ContainSubstring("QEMU: signal: killed"))
			Expect(living(family)).To(BeEmpty())
		}, SpecTimeout(10*time.Minute))
	})

// A fleet: the same scenarios on every node, side by side, and what differs by
// what the nodes are. This one has two nodes, in two VMs with a cable between
// them.
var _ = Describe("kube/ a fleet of two nodes", Ordered, Serial, Label("kube", "fleet"), func() {
	const scenario = "kube/guaranteed-over-its-own-limit"
	var config string

	BeforeAll(func(ctx SpecContext) {
		code, out := oomlab(ctx, "cluster", "up", "--nodes", "2", "--memory", "2304Mi", "--for", "1h")
		Expect(code).To(BeZero(), out)
		Expect(out).To(ContainSubstring("nodes: " + image.NodeName + ", " + image.WorkerName))
		var err error
		config, err = kube.StateFile("kubeconfig")
		Expect(err).NotTo(HaveOccurred())
	}, NodeTimeout(35*time.Minute))
	AfterAll(func(ctx SpecContext) {
		code, out := oomlab(ctx, "cluster", "down")
		Expect(code).To(BeZero(), out)
	}, NodeTimeout(time.Minute))

	It("runs a scenario on both, and puts together what it was on each", func(ctx SpecContext) {
		runs := GinkgoT().TempDir()
		code, out := oomlab(ctx, "run", "--runs-dir", runs, "--kubeconfig", config, "--nodes",
			"kubernetes.io/os=linux", "--parallel", "2",
			"-o", "json", scenario)
		Expect(code).To(BeZero(), out)
		for _, node := range []string{image.NodeName, image.WorkerName} {
			Expect(strings.Count(out, `"name":"`+node+`"`)).To(Equal(1), out)
		}
		code, out = oomlab(ctx, "compare", "--by", "node.name", runs)
		Expect(code).To(BeZero(), out)
		Expect(out).To(MatchRegexp(`OOMLAB-NODE OOMLAB-NODE-2 %s pass db/main \d+ pass db/main \d+ `, scenario))
	}, SpecTimeout(15*time.Minute))

	It("runs it on the one that a selector means", func(ctx SpecContext) {
		code, out := oomlab(ctx, "run", "--runs-dir", GinkgoT().TempDir(), "--kubeconfig", config,
			"--nodes", "kubernetes.io/hostname="+image.WorkerName, "-o", "json", scenario)
		Expect(code).To(BeZero(), out)
		Expect(strings.Count(out, `"name":"`+image.WorkerName+`"`)).To(Equal(1), out)
		Expect(out).NotTo(ContainSubstring(`"name":"` + image.NodeName + `"`))
	}, SpecTimeout(10*time.Minute))
})

// oomlab runs the command to its end. Lines of what it says are put together: a
// report breaks them where they are too long.
func oomlab(ctx context.Context, args ...string) (code int, out string) {
	GinkgoHelper()
	cmd := exec.CommandContext(ctx, binary, args...)
	data, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		Fail(err.Error())
	}
	return cmd.ProcessState.ExitCode(), strings.Join(strings.Fields(string(data)), " ")
}

// left is what is in a cluster of oomlab's own making. The namespace that a VM
// cluster is made with is none of a run's.
func left(ctx context.Context, set *kubernetes.Clientset) ([]string, error) {
	return names(ctx, set, kube.OwnLabel+"="+kube.Own+","+kube.RunLabel)
}

func names(ctx context.Context, set *kubernetes.Clientset, selector string) ([]string, error) {
	list := metav1.ListOptions{LabelSelector: selector}
	var out []string
	pods, err := set.CoreV1().Pods("").List(ctx, list)
	if err != nil {
		return nil, err
	}
	for _, p := range pods.Items {
		out = append(out, "pod "+p.Name)
	}
	spaces, err := set.CoreV1().Namespaces().List(ctx, list)
	if err != nil {
		return nil, err
	}
	for _, n := range spaces.Items {
		out = append(out, fmt.Sprintf("namespace %s", n.Name))
	}
	return out, nil
}
