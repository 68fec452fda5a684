package agent

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/oomlab/oomlab/harness/engine"
	"github.com/oomlab/oomlab/harness/evidence"
	"github.com/oomlab/oomlab/harness/plan"
)

// Where the sockets are that first processes call on, and the image that they are in.
const (
	containerDir   = "/run/oomlab-containers"
	containerImage = "oomlab"
)

// engineDeadline bounds every question to an engine; an emulated machine takes seconds.
const engineDeadline = 2 * time.Minute

// asAUser runs a program as a user's shell would: an engine hands on the oom_score_adj that
// it has, and that of the agent is -1000.
const asAUser = `echo 0 > /proc/self/oom_score_adj && exec "$@"`

// askEngine runs an engine's program and returns what it prints.
func askEngine(stdin []byte, argv ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), engineDeadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", asAUser, "sh"}, argv...)...)
	cmd.WaitDelay = time.Second // what it leaves in the background keeps its output open
	var out, complaint bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &complaint
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		said := strings.ReplaceAll(strings.TrimSpace(complaint.String()), "\n", "; ")
		return nil, fmt.Errorf("%s %s: %w: %s", argv[0], argv[1], err, said)
	}
	return out.Bytes(), nil
}

// image is the archive that an image is made of: a root with nothing in it but the way to
// the userland's programs, which are mounted. Their pages are then those that every other
// process of the userland maps.
func image() ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range []string{"bin", "lib", "lib64", "sbin"} {
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: "usr/" + name, Mode: 0o777})
		if err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"tmp", "usr", "oomlab"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o1777}); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), w.Close()
}

// openContainers gives each engine of the plan the image, and makes the sockets. It starts
// nothing.
func (r *run) openContainers() error {
	loaded := map[string]bool{}
	for _, c := range r.plan.Containers {
		if !loaded[c.Engine] {
			loaded[c.Engine] = true
			archive, err := image()
			if err != nil {
				return err
			}
			if _, err := askEngine(archive, c.Engine, "import", "-", containerImage); err != nil {
				return fmt.Errorf("%s: make an image: %w", c.Engine, err)
			}
		}
		one := &overseen{plan: r.byName[c.Name].plan, what: c.Engine + " container " + c.Name}
		one.met = func(pid int) error { return r.meetEngines(c, pid) }
		one.ask = func() (func() bool, error) {
			state, err := containerState(c, false)
			return func() bool { return r.containerRests(c, state) }, err
		}
		if err := r.oversee(one, containerSocket(c)); err != nil {
			return fmt.Errorf("%s: %w", one.what, err)
		}
	}
	return nil
}

// containerSocket is the socket that a container's first process calls on. Its directory is
// mounted in the container.
func containerSocket(c plan.EngineContainer) string {
	return filepath.Join(containerDir, c.Name, "call")
}

// startContainer has an engine start a container, which returns when its program was
// executed.
func (r *run) startContainer(p *process) error {
	c, _ := r.plan.Container(p.plan.Name)
	r.changed(r.overseen[p.plan.Name])
	argv := []string{c.Engine}
	if c.Engine == engine.Podman {
		argv = append(argv, "--runtime", c.Runtime)
	}
	const inside = "/oomlab"
	argv = append(argv, "run", "--detach", "--name", c.Name, "--network", "none", "--cgroup-parent", r.plan.Base,
		"--volume", "/usr:/usr:ro", "--volume", r.agent.stressor+":"+inside+"/stressor:ro",
		"--volume", filepath.Dir(containerSocket(c))+":"+inside+"/calls")
	argv = append(append(argv, c.Flags...), containerImage, inside+"/stressor", "unit",
		inside+"/calls/"+filepath.Base(containerSocket(c)))
	if _, err := askEngine(nil, argv...); err != nil {
		return fmt.Errorf("container %s was not started: %w", c.Name, err)
	}
	return nil
}

// meetEngines tells which cgroup an engine has put a container's first process into, and
// what it has set.
func (r *run) meetEngines(c plan.EngineContainer, pid int) error {
	text, err := os.ReadFile(r.agent.root.Path("/proc", strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return err
	}
	_, path, ok := strings.Cut(strings.TrimSpace(string(text)), "0::")
	at := strings.TrimPrefix(r.tree.base, r.paths.mount)
	inside, below := strings.CutPrefix(path, at+"/")
	if !ok || !below {
		return fmt.Errorf("%s has put it into the cgroup %s, which is not below %s", c.Engine, path, at)
	}
	adj, err := r.agent.root.OOMScoreAdj(pid)
	if err != nil {
		return err
	}
	dir := r.tree.base
	for name := range strings.SplitSeq(inside, "/") {
		dir = filepath.Join(dir, name)
		r.paths.learn(dir)
	}
	r.inside.Store(c.Name, dir)
	facts := &evidence.CgroupFacts{Path: "/" + inside, Plan: c.Cgroup, ID: containerID(strings.Split(inside, "/")[0]),
		PID: pid, OOMScoreAdj: &adj, Max: limit(dir, "memory.max"), SwapMax: limit(dir, "memory.swap.max")}
	if group, err := os.ReadFile(filepath.Join(dir, "memory.oom.group")); err == nil {
		on := strings.TrimSpace(string(group)) == "1"
		facts.OOMGroup = &on
	}
	r.emit(evidence.Event{Source: evidence.Agent, Kind: evidence.ContainerCgroup, Process: c.Name, Cgroup: facts})
	return nil
}

// containerState asks an engine what it says of a container; of its events, too, if asked
// for.
func containerState(c plan.EngineContainer, events bool) (*evidence.ContainerState, error) {
	text, err := askEngine(nil, c.Engine, "inspect", "--type", "container", c.Name)
	if err != nil {
		return nil, err
	}
	is, err := engine.ParseInspect(text)
	if err != nil {
		return nil, err
	}
	s := &evidence.ContainerState{Engine: c.Engine, ID: is.ID, Shows: is.Shows}
	if !events {
		return s, nil
	}
	until := []string{"--stream=false"}
	if c.Engine == engine.Docker {
		until = []string{"--until", strconv.FormatInt(time.Now().Unix()+1, 10)}
	}
	format := "json"
	if c.Engine == engine.Docker {
		format = "{{json .}}"
	}
	// docker takes a name for a prefix: child-1 would have the events of child-143, too
	text, err = askEngine(nil, append([]string{c.Engine, "events", "--since", "1h", "--filter", "container=" + is.ID,
		"--format", format}, until...)...)
	if err != nil {
		return nil, err
	}
	s.Events, err = engine.ParseEvents(text)
	return s, err
}

// containerRests reports whether an engine has taken note of all that has happened to a
// container, and does nothing more about it.
func (r *run) containerRests(c plan.EngineContainer, s *evidence.ContainerState) bool {
	p := r.byName[c.Name]
	switch s.Shows[engine.Status] {
	case engine.Running:
		return p.alive() && s.Shows[engine.Pid] == strconv.Itoa(p.pid)
	case engine.Exited:
		code, err := strconv.Atoi(s.Shows[engine.ExitCode])
		return p.state == ended && err == nil && !engine.StartsAgain(c.Restart, code, p.lives)
	}
	return false
}

// sayContainers tells what engines say of the containers at the end.
func (r *run) sayContainers() {
	for _, c := range r.plan.Containers {
		if o := r.overseen[c.Name]; o == nil || r.byName[c.Name].lives == 0 {
			continue // the run failed before it was made
		}
		s, err := containerState(c, true)
		if err != nil {
			r.failure(fmt.Sprintf("container %s: %v", c.Name, err))
			continue
		}
		r.emit(evidence.Event{Source: evidence.Engine, Kind: evidence.ContainerShown, Process: c.Name, Engine: s})
	}
}

// haltContainers tells the engines that the containers are to end, and not to be started
// again.
func (r *run) haltContainers() {
	for _, c := range r.plan.Containers {
		if r.overseen[c.Name] != nil && r.byName[c.Name].lives > 0 {
			askEngine(nil, c.Engine, "rm", "--force", c.Name) // closeContainers does it again, and reports
		}
	}
}

// closeContainers removes the containers, whose processes have ended.
func (r *run) closeContainers() error {
	if len(r.plan.Containers) == 0 {
		return nil
	}
	var errs []error
	for _, c := range r.plan.Containers {
		one := r.overseen[c.Name]
		if one == nil {
			continue // it was never made
		}
		errs = append(errs, one.calls.Close())
		_, err := askEngine(nil, c.Engine, "inspect", "--type", "container", c.Name)
		if err == nil {
			_, err = askEngine(nil, c.Engine, "rm", "--force", c.Name)
			errs = append(errs, err)
		}
	}
	if err := os.RemoveAll(containerDir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
