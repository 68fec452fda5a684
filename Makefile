# oomlab: everything that is built, tested and run. `make help` lists it.
#
# On a fresh Debian machine `make test-scenarios` and `make test` install what
# they need (QEMU; Go where there is none) by apt.

GO      ?= go
KERNEL  ?=
TARGET  ?= vm
RUNS    ?= runs
REPORTS ?= artifacts
# as many emulated machines side by side as there are cores
PROCS   ?= $(shell nproc)

BUILD   := CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w"
PAYLOAD := harness/payload/bin

.PHONY: help build cross page test-page payload test-trace test-userland test-userland-short side-by-side test-trace-unit node-image have-node-image test-kube test-kube-container test-kube-full test-trace-kube kind-disk have-kind-disk test-kind test-kind-full torture race test test-scenarios test-storms test-pipelines test-autopkgtest test-helm test-kernels test-kernels-short claims runtimes tour bench screenshots check-formats fuzz lint update-goldens generate check-generate dist check-dist deps tidy clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

dist: ## archives (Linux, macOS, Windows), .deb and .rpm for amd64 and arm64, krew's manifest, with checksums, in dist/
	.ci/dist dist

check-dist: dist ## make dist once more, elsewhere, and compare the bytes
	.ci/dist dist/again
	cmp dist/SHA256SUMS dist/again/SHA256SUMS && rm -r dist/again

deps: ## what the rest needs, installed by apt where it is missing
	@.ci/deps $(firstword $(subst -, ,$(ARCH)))

# The architectures of guests that oomlab has an agent and a stressor for: this machine's,
# and that of ARCH. Each is 12 MiB of bin/oomlab.
ARCH  ?=
ARCHS ?= $(sort $(shell $(GO) env GOARCH) $(firstword $(subst -, ,$(ARCH))))

payload: deps
	@for arch in $(ARCHS); do export GOOS=linux GOARCH=$$arch; \
		$(BUILD) -o $(PAYLOAD)/oomlab-stressor.$$arch ./stressor && \
		$(BUILD) -o $(PAYLOAD)/oomlab-agent.$$arch ./cmd/oomlab-agent || exit 1; done

build: payload ## bin/oomlab, one file that carries agent, stressor and scenarios
	@$(BUILD) -o bin/oomlab ./cmd/oomlab
	@ls -l bin/oomlab | awk '{printf "bin/oomlab: %.1f MiB\n", $$5 / 1048576}'

PAGE ?= bin/oomlab.html

page: ## one HTML file that explains kernel logs in a browser, in bin/
	@mkdir -p $(dir $(PAGE))
	@$(GO) run ./cmd/oomlab-page $(PAGE)

test-page: ## the page in a headless Chromium, with real input (installs chromium by apt)
	@.ci/deps chromium
	cd cmd/oomlab-page/browser && $(GO) vet . && $(GO) test -count 1 .

cross: ## oomlab for macOS and Windows builds, and says what needs Linux
	@for t in darwin/amd64 darwin/arm64 windows/amd64 windows/arm64; do echo "== $$t"; \
		CGO_ENABLED=0 GOOS=$${t%/*} GOARCH=$${t#*/} $(GO) build -o /dev/null ./cmd/oomlab || exit 1; done
	$(GO) vet -tags notlinux ./cmd/oomlab
	$(GO) test -tags notlinux -run '^TestElsewhere$$' ./cmd/oomlab

test: payload lint ## the tests, without those that boot the whole library
	$(GO) test ./...

# Packages with goroutines or locks: the rest, half of the code, has nothing that could race
# (make race RACE=./... has it too, in twice the time). Left out as well: selftest, whose one
# test with goroutines takes a quarter of an hour this way. Building with -race takes a C compiler.
RACE ?= $(shell for dir in $$($(GO) list -f '{{.Dir}}' ./...); do grep -qE '^[[:space:]]*go [[:alpha:]]|"sync"|"sync/atomic"|t\.Parallel' $$dir/*.go && echo $$dir; done | grep -v '/harness/selftest$$')

race: payload ## the tests with the race detector (installs gcc)
	@.ci/deps race
	CGO_ENABLED=1 $(GO) test -race -short -timeout 30m $(RACE)

# With ARCH=arm64, or arm64-16k, VMs have another processor, or other pages.
SPEC = $(if $(ARCH),$(or $(KERNEL),6.12)/$(ARCH),$(KERNEL))

test-scenarios: build ## every scenario (KERNEL=6.12 TARGET=vm ARCH=arm64), summary and JUnit
	@mkdir -p $(REPORTS); rm -f $(REPORTS)/scenarios.txt
	@status=0; $(GO) tool ginkgo run --tags e2e --procs $(PROCS) --timeout 40m --silence-skips --no-color --label-filter '(vm || local) && !userland' \
		./harness/e2e -- -oomlab.junit=$(abspath $(REPORTS))/scenarios.xml \
		-oomlab.target=$(TARGET) -oomlab.kernel=$(SPEC) -oomlab.runs=$(abspath $(RUNS)) \
		-oomlab.table=$(abspath $(REPORTS))/scenarios.txt || status=$$?; \
	echo; cat $(REPORTS)/scenarios.txt; \
	echo; echo "runs in $(RUNS)/, JUnit in $(REPORTS)/scenarios.xml"; exit $$status

INUSERLAND := bin/oomlab run $(if $(KERNEL),--kernel $(KERNEL)) --target vm --parallel 1 --runs-dir $(RUNS)

test-userland: build ## the scenarios that need Debian and systemd in the VM; its disk is made on the way (KERNEL=6.12)
	$(INUSERLAND) $$(cd scenarios && grep -l '^needs:.*userland' */*.yaml | sed 's/[.]yaml$$//')

test-userland-short: build ## a few of them: of units, programs and containers
	$(INUSERLAND) unit/main-process-killed unit/child-killed-stops-the-service program/python-children \
		program/shell-starts-what-grows container/first-process-killed container/first-process-killed-docker

# What a node of a VM cluster is built from. The largest packages of Kubernetes take a
# compiler 4 GiB: a small machine has one at a time.
JOBS      ?= $(shell awk -v cores=$$(nproc) '/^MemAvailable/ {n = int($$2 / 4194304); print (n < 1 ? 1 : (n > cores ? cores : n))}' /proc/meminfo)
export JOBS
NODE      := harness/target/kube/node
K8S       := $(shell sed -n 's,.*k8s.io/kubernetes \(v[0-9.]*\).*,\1,p' $(NODE)/go.mod | head -n 1)
K8SVER    := k8s.io/component-base/version
K8SFLAGS  := -s -w -X $(K8SVER).gitVersion=$(K8S) -X $(K8SVER).gitMajor=1 -X $(K8SVER).gitMinor=$(word 2,$(subst ., ,$(K8S))) -X $(K8SVER).gitTreeState=clean
NODEBIN   ?= bin/node
K8SBUILD  := cd $(NODE) && CGO_ENABLED=0 $(GO) build -p $(JOBS) -trimpath -ldflags "$(K8SFLAGS)" -o $(abspath $(NODEBIN))/

node-image: build ## the image that nodes of VM clusters boot; Kubernetes is built on the way
	@mkdir -p $(NODEBIN)
	$(K8SBUILD) k8s.io/kubernetes/cmd/kubelet k8s.io/kubernetes/cmd/kube-apiserver
	bin/oomlab cluster image --kubelet $(NODEBIN)/kubelet --apiserver $(NODEBIN)/kube-apiserver --version $(K8S)

# A node takes 2304Mi of this machine's memory and a core.
KUBESHORT := kube/(guaranteed-over-its-own-limit|stress-worker-dies-alone|init-container-over-its-limit|burstable-above-request-before-besteffort)$$
KUBESUITE  = @mkdir -p $(REPORTS); rm -f $(REPORTS)/kube.txt; status=0; $(GO) tool ginkgo run --tags e2e --procs $(PROCS) --timeout 90m --silence-skips --no-color \
		--label-filter kube --focus '$(1)' ./harness/e2e -- -oomlab.junit=$(abspath $(REPORTS))/kube.xml \
		-oomlab.kernel=$(KERNEL) -oomlab.runs=$(abspath $(RUNS)) -oomlab.table=$(abspath $(REPORTS))/kube.txt $(2) || status=$$?; \
	echo; cat $(REPORTS)/kube.txt; echo; echo "runs in $(RUNS)/, JUnit in $(REPORTS)/kube.xml"; exit $$status

# one that is there will do, though Debian may have newer packages by now
have-node-image: build
	@{ bin/oomlab cluster status || true; } | grep -Eq "^(node image|up):" || $(MAKE) node-image

test-kube: have-node-image ## a few scenarios with pods, on a real kubelet in a VM (make test-kube-full: all)
	$(call KUBESUITE,$(KUBESHORT),)

test-kube-container: have-node-image ## the same scenarios on nodes that are containers in their VMs, as kind's are on a machine
	$(call KUBESUITE,$(KUBESHORT),-oomlab.in-container)

test-kube-full: have-node-image ## every scenario for clusters, on a real kubelet in a VM; random pods; what may be wrong with a cluster
	$(GO) test -tags e2e -count 1 -timeout 45m -v -run TestAdjOfRandomPods ./harness/target/kube
	$(call KUBESUITE,(kube|qos)/,-oomlab.target=kube)

# KIND=kind-config/default.yaml: on a cluster of kind's in a VM, where a DaemonSet has its controller
test-trace-kube: have-node-image ## docs/tracing/daemonset.yaml on a VM cluster, and oomlab trace --kube beside it
	$(GO) test -tags e2e -count 1 -timeout 90m -v ./harness/e2e -ginkgo.label-filter traced -ginkgo.v -ginkgo.no-color \
		-args -oomlab.kernel=$(KERNEL) -oomlab.kind=$(if $(KIND),$(abspath $(KIND)))

kind-disk: build ## the disk of the VM that clusters of kind's run in; Kubernetes and a node image are built on the way
	@.ci/deps kind
	@.ci/kind-disk --check
	@mkdir -p $(NODEBIN)
	$(K8SBUILD) tool
	.ci/kind-disk $(K8S) $(NODEBIN)

# one that is there will do, though Debian may have newer packages by now
have-kind-disk: build
	@{ bin/oomlab cluster status || true; } | grep -Eq "^(disk with kind|up):" || $(MAKE) kind-disk

# HOST=1: on clusters that kind makes with this machine's container engine
HOST ?=
ifneq ($(HOST),)
KINDRUN := .ci/kind --host
KINDDISK := build
else
KINDRUN := .ci/kind
KINDDISK := have-kind-disk
endif
CONFIGS ?= default
KINDSHORT := kube/guaranteed-over-its-own-limit kube/init-container-over-its-limit kube/stress-worker-takes-its-container-along kube/leak-until-the-limit

test-kind: $(KINDDISK) ## a few scenarios with pods on a cluster of kind's in a VM (CONFIGS="default small-node"; HOST=1: on this machine)
	@mkdir -p $(REPORTS)
	RUNS=$(RUNS) REPORTS=$(REPORTS) CONFIGS="$(CONFIGS)" $(KINDRUN) $(KINDSHORT)

test-kind-full: $(KINDDISK) ## every scenario that a node of kind's can run, on each configuration of kind-config
	@mkdir -p $(REPORTS)
	RUNS=$(RUNS) REPORTS=$(REPORTS) $(KINDRUN) kube/...

KERNELS      ?= 5.10 6.1 6.12 6.18 7.3
SHORT        ?= memcg/one-process-over-its-limit memcg/adj-outweighs-size memcg/oom-group-takes-all memcg/two-kills-in-a-row system/small-adj-1000-dies-first
FUZZTIME     ?= 10m
REPEAT       ?= 3

test-kernels: build ## every scenario on every kernel (KERNELS="5.10 6.1 6.12 6.18 7.3")
	@for k in $(KERNELS); do echo "== $$k"; bin/oomlab run --kernel $$k --target vm --runs-dir $(RUNS) --junit $(REPORTS)/kernel-$$k.xml ... || exit $$?; done

# Scenarios with pods that need a kubelet are not among them: name their runs, too, with
# bin/oomlab report -o claims.
claims: build ## docs/claims.md: every scenario that answers a statement, on every kernel (KERNELS, REPEAT=3)
	@rm -rf $(RUNS)/claims
	@for k in $(KERNELS); do echo "== $$k"; bin/oomlab run --kernel $$k --target vm --allow-skip --parallel 1 --repeat $(REPEAT) \
		--runs-dir $(RUNS)/claims $$(bin/oomlab list --claims | sed -n '/^kube/d; 2,$$s/ .*//p') || exit $$?; done
	bin/oomlab report -o claims $(RUNS)/claims > docs/claims.new
	mv docs/claims.new docs/claims.md

# Pods take a node, whose image takes Kubernetes to be built: their runs are those that are
# recorded, or others (KUBERUNS=DIR).
KUBERUNS ?= harness/verdict/testdata/kube-1.36

runtimes: build ## docs/runtimes.md: what systemd, podman, docker and the kubelet say of OOM kills (KERNEL=6.12)
	@rm -rf $(RUNS)/runtimes
	bin/oomlab run $(if $(KERNEL),--kernel $(KERNEL)) --target vm --parallel 1 --runs-dir $(RUNS)/runtimes \
		container/... unit/...
	bin/oomlab report -o runtimes $(RUNS)/runtimes $(KUBERUNS) > docs/runtimes.new
	printf '\n## By runtime\n\nThe same by `oomlab compare --by runtime -o markdown`, which says what differs.\n\n' >> docs/runtimes.new
	bin/oomlab compare --by runtime -o markdown $(RUNS)/runtimes $(KUBERUNS) >> docs/runtimes.new
	mv docs/runtimes.new docs/runtimes.md

tour: build ## the scenarios of docs/tour.md that need no cluster (KERNEL=6.12)
	bin/oomlab run $(if $(KERNEL),--kernel $(KERNEL)) --target vm --runs-dir $(RUNS)/tour $$(sed -n 's,^    bin/oomlab run ,,p' docs/tour.md | grep -v ^kube/)

test-pipelines: build ## what others' pipelines on GitHub and GitLab include, step by step (docs/pipelines.md)
	$(GO) test -tags e2e -count 1 -timeout 40m -v ./harness/e2e -ginkgo.label-filter pipelines -ginkgo.no-color

test-autopkgtest: build ## packaging/debian/tests, by autopkgtest on this machine (needs root and autopkgtest)
	.ci/autopkgtest

test-helm: ## the chart in packaging/helm, by helm's own lint and templates
	cd packaging/helm && $(GO) vet . && $(GO) test -count 1 .

test-storms: build ## hundreds of kills and a thousand processes in one run (KERNEL=6.12)
	bin/oomlab run $(if $(KERNEL),--kernel $(KERNEL)) --target vm --parallel 1 --runs-dir $(RUNS) harness/e2e/storms/*.yaml

test-kernels-short: build ## a few scenarios on every kernel, for CI
	@mkdir -p $(REPORTS)
	@for k in $(KERNELS); do echo "== $$k"; bin/oomlab run --kernel $$k --target vm --runs-dir $(RUNS) --junit $(REPORTS)/kernel-$$k.xml $(SHORT) || exit $$?; done

bench: build ## boot, restore, a whole scenario, the parser and cAdvisor's, the model, rank; in one run
	$(GO) test -run '^$$' -bench . -benchtime 5x -timeout 30m ./harness/target/vm ./harness/lab
	$(GO) test -run '^$$' -bench . -timeout 30m ./harness/oomlog ./harness/explain ./harness/predict ./harness/rank ./harness/census ./stressor
	cd harness/oomlog/cadvisor && $(GO) test -v -cpu 1 -bench . .

screenshots: build ## pictures of the HTML reports and the page, in artifacts/ (installs chromium by apt)
	@.ci/deps chromium
	.ci/screenshots
	cd cmd/oomlab-page/browser && OOMLAB_TEST_SCREENSHOTS=$(abspath artifacts/screenshots) $(GO) test -count 1 -run '^TestScreenshots$$' .

check-formats: ## JUnit and KTAP by the schema and the parser that read them (needs libxml2-utils)
	.ci/formats

STORM ?= 2000

test-trace: ## kills in a storm on every kernel of KERNELS, and 1000 times attach and detach (STORM=2000; needs QEMU)
	@for k in $(KERNELS); do \
		image=$$($(GO) run ./cmd/oomlab kernels path $$k) || exit $$?; \
		echo "== $$k"; \
		OOMLAB_TEST_STORM=$(STORM) OOMLAB_TEST_IMAGES=$$image CGO_ENABLED=0 $(GO) test -count 1 -v -timeout 30m \
			-run TestKernels ./harness/watch | grep -E "cost:|storm:|^ *--- |FAIL|^ok" || exit $$?; done
	OOMLAB_TEST_ATTACH=1000 $(GO) test -count 1 -v -timeout 30m -run TestAttachDetach ./bpf

test-trace-unit: build ## docs/tracing/oomlab-trace.service under systemd, in a VM (KERNEL=6.12; needs root)
	.ci/trace-unit $(KERNEL)

side-by-side: build ## trace beside the oomkill of bcc, libbpf-tools and bpftrace, in one VM: a table (needs root)
	.ci/side-by-side $(KERNEL)

FOR ?= 30m
SEED ?= 0
TORMENT ?=
torture: build ## runs that are killed, starved, out of disk or in a damaged cache (FOR=30m SEED=n TORMENT=word)
	$(GO) tool ginkgo run --tags e2e --timeout 24h --silence-skips --no-color --label-filter torture ./harness/e2e -- \
		-oomlab.torture=$(FOR) -oomlab.seed=$(SEED) -oomlab.torment='$(TORMENT)'

fuzz: ## every fuzz target for FUZZTIME=10m
	@for target in $$(grep -rhoE '^func Fuzz[A-Za-z]+' --include='*_test.go' . | cut -c6- | sort -u); do \
		dir=$$(dirname $$(grep -rlE "^func $$target\(" --include='*_test.go' .)); \
		echo "== $$dir $$target for $(FUZZTIME)"; \
		$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$dir || exit 1; \
	done

lint: ## gofmt, vet, staticcheck, deadcode; the import rules are tests in harness
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not gofmt'd:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags e2e ./harness/e2e ./harness/target/kube ./harness/predict
	$(GO) tool staticcheck ./...
	$(GO) tool deadcode -test -tags e2e ./...

# The packages whose tests compare with committed files. Modules of their own are
# not among them. The scripts of cmd/oomlab read what the other packages write.
GOLDENS = $(addprefix ./,$(sort $(dir $(shell git grep -l '"github.com/oomlab/oomlab/harness/golden"' -- 'harness/*_test.go' ':!harness/kubelet/upstream'))))

update-goldens: ## write the files that tests compare with anew; read what git diff then shows
	OOMLAB_UPDATE=1 $(GO) test -count 1 -short $(GOLDENS)
	OOMLAB_UPDATE=1 $(GO) test -count 1 ./cmd/oomlab

generate: ## the eBPF object and its Go side (needs clang-14 and libbpf-dev)
	$(GO) generate ./...

check-generate: generate ## fails if what is committed is not what is generated
	git diff --exit-code -- bpf

tidy:
	$(GO) mod tidy

clean: ## what make built; `oomlab clean` removes what runs left
	rm -rf bin dist $(REPORTS) $(PAYLOAD)/oomlab-agent* $(PAYLOAD)/oomlab-stressor*
