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

.PHONY: help build payload node-image have-node-image test-kube test-kube-full test-kind test test-scenarios test-kernels test-kernels-short bench screenshots check-formats fuzz lint update-goldens generate check-generate dist check-dist deps tidy clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

dist: ## archives, .deb and .rpm for amd64 and arm64, with checksums, in dist/
	.ci/dist dist

check-dist: dist ## make dist once more, elsewhere, and compare the bytes
	.ci/dist dist/again
	cmp dist/SHA256SUMS dist/again/SHA256SUMS && rm -r dist/again

deps: ## what the rest needs, installed by apt where it is missing
	@.ci/deps

payload: deps
	@$(BUILD) -o $(PAYLOAD)/oomlab-stressor ./stressor
	@$(BUILD) -o $(PAYLOAD)/oomlab-agent ./cmd/oomlab-agent

build: payload ## bin/oomlab, one file that carries agent, stressor and scenarios
	@$(BUILD) -o bin/oomlab ./cmd/oomlab
	@ls -l bin/oomlab | awk '{printf "bin/oomlab: %.1f MiB\n", $$5 / 1048576}'

test: payload lint ## the tests, without those that boot the whole library
	$(GO) test ./...

test-scenarios: build ## every scenario (KERNEL=6.12 TARGET=vm), summary and JUnit
	@mkdir -p $(REPORTS); rm -f $(REPORTS)/scenarios.txt
	@status=0; $(GO) tool ginkgo run --tags e2e --procs $(PROCS) --timeout 40m --silence-skips --no-color --label-filter 'vm || local' \
		./harness/e2e -- -oomlab.junit=$(abspath $(REPORTS))/scenarios.xml \
		-oomlab.target=$(TARGET) -oomlab.kernel=$(KERNEL) -oomlab.runs=$(abspath $(RUNS)) \
		-oomlab.table=$(abspath $(REPORTS))/scenarios.txt || status=$$?; \
	echo; cat $(REPORTS)/scenarios.txt; \
	echo; echo "runs in $(RUNS)/, JUnit in $(REPORTS)/scenarios.xml"; exit $$status

# What a node of a VM cluster is built from. -p 1: two compilers side by side
# take more memory than a small machine has.
NODE      := harness/target/kube/node
K8S       := $(shell sed -n 's,.*k8s.io/kubernetes \(v[0-9.]*\).*,\1,p' $(NODE)/go.mod | head -n 1)
K8SVER    := k8s.io/component-base/version
K8SFLAGS  := -s -w -X $(K8SVER).gitVersion=$(K8S) -X $(K8SVER).gitMajor=1 -X $(K8SVER).gitMinor=$(word 2,$(subst ., ,$(K8S))) -X $(K8SVER).gitTreeState=clean
NODEBIN   ?= bin/node

node-image: build ## the image that nodes of VM clusters boot; Kubernetes is built on the way
	@mkdir -p $(NODEBIN)
	cd $(NODE) && CGO_ENABLED=0 $(GO) build -p 1 -trimpath -ldflags "$(K8SFLAGS)" -o $(abspath $(NODEBIN))/ k8s.io/kubernetes/cmd/kubelet k8s.io/kubernetes/cmd/kube-apiserver
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

test-kube-full: have-node-image ## every scenario for clusters, on a real kubelet in a VM; random pods; what may be wrong with a cluster
	$(GO) test -tags e2e -count 1 -timeout 45m -v -run TestAdjOfRandomPods ./harness/target/kube
	$(call KUBESUITE,(kube|qos)/,-oomlab.target=kube)

test-kind: build ## scenarios with pods on clusters of kind's (CONFIGS="default small-node"); needs a container engine
	@mkdir -p $(REPORTS)
	RUNS=$(RUNS) REPORTS=$(REPORTS) .ci/kind

KERNELS      ?= 5.10 6.1 6.12 6.18 7.3
SHORT        ?= memcg/one-process-over-its-limit memcg/adj-outweighs-size memcg/oom-group-takes-all memcg/two-kills-in-a-row system/small-adj-1000-dies-first
FUZZTIME     ?= 10m

test-kernels: build ## every scenario on every kernel (KERNELS="5.10 6.1 6.12 6.18 7.3")
	@for k in $(KERNELS); do echo "== $$k"; bin/oomlab run --kernel $$k --target vm --runs-dir $(RUNS) --junit $(REPORTS)/kernel-$$k.xml ... || exit $$?; done

test-kernels-short: build ## a few scenarios on every kernel, for CI
	@mkdir -p $(REPORTS)
	@for k in $(KERNELS); do echo "== $$k"; bin/oomlab run --kernel $$k --target vm --runs-dir $(RUNS) --junit $(REPORTS)/kernel-$$k.xml $(SHORT) || exit $$?; done

bench: build ## boot, restore, a whole scenario, the parser and cAdvisor's, the model; in one run
	$(GO) test -run '^$$' -bench . -benchtime 5x -timeout 30m ./harness/target/vm ./harness/lab
	$(GO) test -run '^$$' -bench . -timeout 30m ./harness/oomlog ./harness/explain ./harness/predict ./stressor
	cd harness/oomlog/cadvisor && $(GO) test -v -cpu 1 -bench . .

screenshots: build ## pictures of the HTML reports, in artifacts/ (needs chromium)
	.ci/screenshots

check-formats: ## JUnit and KTAP by the schema and the parser that read them (needs libxml2-utils)
	.ci/formats

fuzz: ## every fuzz target for FUZZTIME=10m
	@for target in $$(grep -rhoE '^func Fuzz[A-Za-z]+' --include='*_test.go' . | cut -c6- | sort -u); do \
		dir=$$(dirname $$(grep -rlE "^func $$target\(" --include='*_test.go' .)); \
		echo "== $$dir $$target for $(FUZZTIME)"; \
		$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$dir || exit 1; \
	done

lint: ## gofmt, vet, staticcheck; the import rules are tests in harness
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not gofmt'd:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags e2e ./harness/e2e ./harness/target/kube ./harness/predict
	$(GO) tool staticcheck ./...

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
	rm -rf bin dist $(REPORTS) $(PAYLOAD)/oomlab-agent $(PAYLOAD)/oomlab-stressor
