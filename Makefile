# Two commands do everything: `make demo` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON_BIN := .venv/bin
comma := ,
CRD_FOLDERS := crds charts/magistral-operator/files/crds

help:  ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-20s %s\n", $$1, $$2}'

venv:  ## Python environment from the hashed locks
	@dev/venv.sh

demo: venv  ## The main job: teacher, student, evaluation, on a real cluster
	@$(PYTHON_BIN)/python -m dev.demo

test: venv  ## All suites; counts printed
	@$(PYTHON_BIN)/python -m dev.test

crash-sweep: venv  ## The operator killed at every API write of whole runs: ONLY=SFT,RL,SFTThenRL,Evaluate
	@$(PYTHON_BIN)/python -m tests.crash $(subst $(comma), ,$(ONLY))

unit: venv  ## The quick suite
	@$(PYTHON_BIN)/pytest -q tests/unit

lint: venv  ## ruff, mypy --strict, import borders, generated CRDs up to date
	@$(PYTHON_BIN)/ruff check .
	@$(PYTHON_BIN)/mypy
	@$(PYTHON_BIN)/lint-imports
	@for folder in $(CRD_FOLDERS); do rm -rf build/crds; mkdir -p build/crds; $(PYTHON_BIN)/python -m magistral_api.crd build/crds >/dev/null; \
	  for crd in build/crds/*.yaml; do diff -u $$folder/$$(basename $$crd) $$crd || { echo "run make crds"; exit 1; }; done; done

crds: venv  ## Generate the CRDs from the models
	@$(PYTHON_BIN)/python -m magistral_api.crd $(CRD_FOLDERS)

cluster-up: venv  ## Start the local cluster
	@$(PYTHON_BIN)/python -m dev.cluster up

cluster-down: venv  ## Stop what cluster-up started, leave nothing behind
	@$(PYTHON_BIN)/python -m dev.cluster down

cluster-status: venv  ## What runs
	@$(PYTHON_BIN)/python -m dev.cluster status

images: venv  ## Build the images
	@$(PYTHON_BIN)/python -m dev.images build

bench-control-plane: venv  ## Ours beside Kubeflow Trainer + JobSet: N=1000 REST=600 (s) STAGE=preflight,curate,rl ONLY=ours,kubeflow
	@$(PYTHON_BIN)/python -m dev.bench.control_plane --runs $(or $(N),1000) --rest $(or $(REST),600) \
	  $(if $(STAGE),--stage $(STAGE)) $(if $(ONLY),--only $(ONLY))

bench-pauses: venv  ## What a weight update costs running requests: ours beside vLLM's own pause modes: N=10 updates a mode
	@$(PYTHON_BIN)/python -m dev.bench.pauses --updates $(or $(N),10)

bench-simulation: venv  ## The conductor's loop at the paper's sizes, 10 to 1,000 simulated generators, in simulated time
	@$(PYTHON_BIN)/python -m dev.bench.simulation

bench-rollouts: venv  ## Tokens trained a second: ours beside TRL and our synchronous mode; padding beside other packers. STEPS=24
	@$(PYTHON_BIN)/python -m dev.bench.rollouts --steps $(or $(STEPS),24)

bench-kills: venv  ## Processes of RL runs killed at random moments: KILLS=20 (of each role) ONLY=generator,trainer,conductor,verifier
	@$(PYTHON_BIN)/python -m dev.bench.kills --kills $(or $(KILLS),20) $(if $(ONLY),--only $(ONLY))

table3: venv  ## The paper's Table 3 on the demo's task: SFT alone, RL alone, SFT + RL: SEEDS=3
	@$(PYTHON_BIN)/python -m dev.study.table3 --seeds $(or $(SEEDS),3)

ablations: venv  ## ε_high, upsampling and sequences in flight on the demo's task, a run each
	@$(PYTHON_BIN)/python -m dev.study.ablations

humaneval: venv  ## SmolLM2-135M-Instruct on all of HumanEval, through the whole stack
	@$(PYTHON_BIN)/python -m dev.study.humaneval

lock: venv  ## Resolve locks/*.in into hashed locks
	@dev/lock.sh

.PHONY: help venv demo test crash-sweep unit lint crds cluster-up cluster-down cluster-status images bench-control-plane \
  bench-pauses bench-simulation bench-rollouts bench-kills table3 ablations humaneval lock
