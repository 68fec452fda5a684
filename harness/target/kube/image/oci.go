package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Images are the names of oomlab's own container images. No registry has them:
// they come as an archive that the container runtime imports. The tag is what
// is in them, so that an old one is never taken for a new one.
type Images struct {
	Pause    string // the stressor too: a sandbox has to do nothing
	Stressor string
	Agent    string
}

// Where an image has its program.
const (
	StressorPath = "/oomlab-stressor"
	AgentPath    = "/oomlab-agent"
	OomlabPath   = "/oomlab"
)

// TraceImage is the name of the image for docs/tracing/daemonset.yaml, which has oomlab
// itself. It is for people to push to a registry of theirs, under another name.
const TraceImage = "oomlab.dev/oomlab:latest"

// CheckName says what is wrong with the name of an image.
func CheckName(ref string) error {
	_, err := name.NewTag(ref)
	return err
}

// ErrNotStatic says that a program cannot be the only one of an image.
var ErrNotStatic = errors.New("it is linked to libraries, which an image of it alone does not have; " +
	"build it with CGO_ENABLED=0")

// WriteTraceImage writes an archive with the image of oomlab's own program. The same
// program gives the same bytes.
func WriteTraceImage(w io.Writer, oomlab []byte, ref string) error {
	tag, err := name.NewTag(ref)
	if err != nil {
		return err
	}
	program, err := elf.NewFile(bytes.NewReader(oomlab))
	if err != nil {
		return fmt.Errorf("the program: %w", err)
	}
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("the program: %w", ErrNotStatic)
		}
	}
	img, err := assemble(map[string][]byte{OomlabPath: oomlab}, []string{OomlabPath})
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	if err := tarball.Write(tag, img, &archive); err != nil {
		return err
	}
	return inOrder(w, &archive)
}

// NameImages says what the images of these binaries are called.
func NameImages(agent, stressor []byte) Images {
	tag := func(data ...[]byte) string {
		h := sha256.New()
		for _, d := range data {
			h.Write(d)
		}
		return hex.EncodeToString(h.Sum(nil))[:12]
	}
	return Images{
		Pause:    "oomlab.dev/pause:" + tag(stressor),
		Stressor: "oomlab.dev/stressor:" + tag(stressor),
		Agent:    "oomlab.dev/agent:" + tag(agent, stressor),
	}
}

// WriteImages writes the archive, which ctr, docker and kind import. The same
// binaries give the same bytes.
func WriteImages(w io.Writer, agent, stressor []byte) error {
	images := NameImages(agent, stressor)
	all := map[name.Reference]v1.Image{}
	for _, i := range []struct {
		ref   string
		files map[string][]byte
		argv  []string
	}{
		{images.Pause, map[string][]byte{StressorPath: stressor}, []string{StressorPath, "hold"}},
		{images.Stressor, map[string][]byte{StressorPath: stressor}, []string{StressorPath}},
		{images.Agent, map[string][]byte{AgentPath: agent, StressorPath: stressor}, []string{AgentPath}},
	} {
		ref, err := name.NewTag(i.ref)
		if err != nil {
			return err
		}
		if all[ref], err = assemble(i.files, i.argv); err != nil {
			return fmt.Errorf("image %s: %w", i.ref, err)
		}
	}
	var archive bytes.Buffer
	if err := tarball.MultiRefWrite(all, &archive); err != nil {
		return err
	}
	return inOrder(w, &archive)
}

// inOrder copies an archive with its files, and the images of its manifest, in
// the order of their names: the library writes them in the order of a map.
func inOrder(w io.Writer, archive io.Reader) error {
	const manifest = "manifest.json"
	files := map[string][]byte{}
	for r := tar.NewReader(archive); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			files[h.Name], err = io.ReadAll(r)
		}
		if err != nil {
			return err
		}
	}
	var m tarball.Manifest
	if err := json.Unmarshal(files[manifest], &m); err != nil {
		return err
	}
	slices.SortFunc(m, func(a, b tarball.Descriptor) int { return slices.Compare(a.RepoTags, b.RepoTags) })
	var err error
	if files[manifest], err = json.Marshal(m); err != nil {
		return err
	}
	out := tar.NewWriter(w)
	for _, file := range slices.Sorted(maps.Keys(files)) {
		data := files[file]
		h := &tar.Header{Name: file, Typeflag: tar.TypeReg, Mode: 0o644,
			Size: int64(len(data)), Format: tar.FormatUSTAR}
		if err := out.WriteHeader(h); err != nil {
			return err
		}
		if _, err := out.Write(data); err != nil {
			return err
		}
	}
	return out.Close()
}

func assemble(files map[string][]byte, argv []string) (v1.Image, error) {
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	entries := []*tar.Header{{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}}
	for _, path := range []string{AgentPath, StressorPath, OomlabPath} { // in one order
		if data, ok := files[path]; ok {
			entries = append(entries,
				&tar.Header{Name: path[1:], Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(data))})
		}
	}
	for _, h := range entries {
		h.Format = tar.FormatUSTAR
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write(files["/"+h.Name]); err != nil {
				return nil, err
			}
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(layer.Bytes())), nil
	})
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		return nil, err
	}
	c, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	c = c.DeepCopy()
	c.Architecture, c.OS = runtime.GOARCH, "linux" // as the payload is
	c.Config.Entrypoint = argv
	return mutate.ConfigFile(img, c)
}
