package explain_test

import (
	"strings"
	"testing"

	"github.com/oomlab/oomlab/harness/explain"
)

// TestOwnerOf has a path, or several, for each row of the table of owners.
func TestOwnerOf(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	const uid = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
	for path, want := range map[string]string{
		"/slurm/uid_1000/job_4711/step_0/task_3":                     "Slurm step 0 of job 4711 of uid 1000",
		"/slurm_node7/uid_1000/job_4711/step_batch":                  "Slurm step batch of job 4711 of uid 1000",
		"/system.slice/slurmstepd.scope/job_4711/step_0/user/task_0": "Slurm step 0 of job 4711",
		"/system.slice/node1_slurmstepd.scope/job_4711/step_extern":  "Slurm step extern of job 4711",
		"/slurm/uid_1000/job_4711":                                   "Slurm job 4711 of uid 1000",
		"/nomad.slice/share.slice/" + uid + ".web.scope": "Nomad task web (" +
			uid + ")",
		"/nomad/share/" + uid + ".web":                "Nomad task web (" + uid + ")",
		"/nomad.slice/" + uid + ".web.scope":          "Nomad task web (" + uid + ")",
		"/ecs/" + strings.Repeat("ab", 16) + "/" + id: "ECS container 0123456789ab",
		"/lxc/104/ns/system.slice/nginx.service":      "systemd service nginx, in the LXC container 104",
		"/lxc.payload.web1":                           "LXC container web1",
		"/lxc.payload/web1/init.scope":                "systemd scope init, in the LXC container web1",
		"/lxc/39004/ns/docker/" + id: "Docker container 0123456789ab, in the LXC " +
			"container 39004",
		"/docker/" +
			id: "Docker container 0123456789ab",
		"/system.slice/docker-" + id +
			".scope": "Docker container 0123456789ab",
		"/docker/buildkit/xyz": "Docker build xyz",
		"/machine.slice/libpod-" + id +
			".scope/container": "Podman container 0123456789ab",
		"/machine.slice/machine-libpod_pod_" + id +
			".slice": "Podman pod 0123456789ab",
		"/libpod_parent/libpod-" +
			id: "Podman container 0123456789ab",
		"/system.slice/crio-" + id +
			".scope": "CRI-O container 0123456789ab",
		"/default/" +
			id: "containerd container 0123456789ab",
		"/system.slice/nerdctl-" + id +
			".scope": "containerd container 0123456789ab",
		"/kubepods/burstable/pod" + uid + "/" +
			id: "Kubernetes container 0123456789ab, in the Kubernetes pod " + uid,
		"/kubepods/burstable/pod" + uid:                                                        "Kubernetes pod " + uid,
		`/machine.slice/machine-qemu\x2d3\x2dweb.scope/libvirt`:                                "libvirt virtual machine web",
		"/machine/qemu-1-web.libvirt-qemu":                                                     "libvirt virtual machine web",
		"/machine.slice/systemd-nspawn@build.service/payload":                                  "systemd nspawn container build",
		`/machine.slice/machine-build.scope`:                                                   "systemd nspawn container build",
		"/user.slice/user-1000.slice/session-40.scope":                                         "systemd session 40 of uid 1000",
		"/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-firefox-4321.scope": "systemd application gnome-firefox-4321 of uid 1000",
		"/user.slice/user-1000.slice/user@1000.service/session.slice/pipewire.service":         "systemd user service pipewire of uid 1000",
		"/user.slice/user-1000.slice/user@1000.service":                                        "systemd user manager of uid 1000",
		"/user.slice/user-1000.slice":                                                          "systemd sessions of uid 1000",
		"/system.slice/mysqld.service":                                                         "systemd service mysqld",
		"/system.slice/system-getty.slice/getty@tty1.service":                                  "systemd service getty@tty1",
		"/system.slice": "systemd slice system",
		"/init.scope":   "systemd scope init",
		"/":             "", "": "", "/foo/bar": "", "/mydocker/x": "",
	} {
		if got := explain.OwnerOf(path).String(); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	rootless := "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + id + ".scope/container"
	if got, want := explain.OwnerOf(rootless).String(), "Podman container 0123456789ab, in the systemd user "+
		"manager of uid 1000"; got != want {
		t.Errorf("rootless: %q, want %q", got, want)
	}
}

// FuzzOwnerOf: any path has an owner or none, in bounded time.
func FuzzOwnerOf(f *testing.F) {
	for _, path := range []string{"/lxc/1/ns/docker/x", `/machine.slice/machine-qemu\x2d3\x2dweb.scope`,
		"/slurm/uid_1/job_2/step_3/task_4",
		"/kubepods/burstable/pod0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9", "a.slice/b.slice/c.service", `\x2f\x`} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		depth := 0
		for o := explain.OwnerOf(path); o != nil; o = o.In {
			if depth++; depth > 17 || o.By == "" || o.Kind == "" {
				t.Fatalf("%q: %+v at depth %d", path, o, depth)
			}
		}
	})
}
