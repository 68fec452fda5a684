package harness_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// engine has `.ci/kind --host` find a container engine that answers as said, whatever
// there is on this machine, and returns how that ended. asked are the commands that the
// engine and kind were given.
func engine(t *testing.T, config string, answers map[string]string) (code int, said, asked string) {
	t.Helper()
	dir := t.TempDir()
	log := filepath.Join(dir, "asked")
	program := func(name, body string) {
		text := "#!/bin/sh\necho " + name + " \"$@\" >> " + log + "\n" + body
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"docker", "podman", "nerdctl"} {
		body := "exit 1\n"
		if answers[name] != "" {
			body = "case \"$*\" in\n"
			for question, answer := range answers {
				if command, rest, ok := strings.Cut(question, " "); ok && command == name {
					body += "*'" + rest + "'*) echo '" + answer + "' ;;\n"
				}
			}
			body += "esac\n"
		}
		program(name, body)
	}
	program("kind", "test \"$*\" = 'get clusters' && echo '"+answers["kind"]+"'\n")
	cmd := exec.Command("bash", "../.ci/kind", "--host", "kube/guaranteed-over-its-own-limit")
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "CONFIGS="+config, "TMPDIR="+dir)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("%v: %s", err, out)
	}
	questions, err := os.ReadFile(log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "tmp.*")); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	return exit.ExitCode(), string(out), string(questions)
}

// TestAnEngineThatWillNotDo: it is said before anything is created, with the way out,
// and nothing is asked of the engine but what it is.
func TestAnEngineThatWillNotDo(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("clusters of kind's are made on Linux")
	}
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip(err)
	}
	docker := func(version, arch, cgroup string) map[string]string {
		return map[string]string{"docker": "is there", "docker .Server.Version": version,
			"docker .Server.Arch": arch, "docker .CgroupVersion": cgroup, "kind": "other"}
	}
	taken := docker("28.1.0", runtime.GOARCH, "2")
	taken["kind"] = "oomlab"
	for name, tt := range map[string]struct {
		config  string
		answers map[string]string
		code    int
		want    string
	}{
		"none":            {"default", nil, 4, "kind needs a container engine that answers"},
		"too old":         {"default", docker("19.03.15", runtime.GOARCH, "2"), 4, "docker 19.03.15 is too old: kind needs"},
		"of another kind": {"default", docker("28.1.0", "s390x", "2"), 4, "docker runs s390x, and the images in"},
		"cgroup v1":       {"default", docker("20.10.24", runtime.GOARCH, "1"), 4, "docker has cgroup v1, where the kubelet"},
		"podman's cgroup v1": {"default", map[string]string{"podman": "is there", "podman .Host.CgroupsVersion": "v1"}, 4,
			"podman has cgroup v1"},
		"somebody's cluster": {"default", taken, 4, "docker has a cluster oomlab, and nothing is done to it"},
		"no such cluster":    {"defualt", taken, 64, "CONFIGS: there is no kind-config/defualt.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			code, said, asked := engine(t, tt.config, tt.answers)
			if code != tt.code || !strings.HasPrefix(said, "oomlab: ") || !strings.Contains(said, tt.want) ||
				code == 4 && strings.Count(said, "\noomlab: hint: ") != 1 {
				t.Errorf("exit %d, %s", code, said)
			}
			for question := range strings.Lines(asked) {
				what := strings.Fields(question)[1]
				if what != "info" && what != "version" && what != "get" {
					t.Errorf("asked %s", question)
				}
			}
		})
	}
}
