# The short way in; CMakeLists.txt does the work. SPDX-License-Identifier: Apache-2.0
PREFIX  ?= /usr/local
DESTDIR ?=
ARGS    ?=
JOBS    ?= $(shell nproc 2>/dev/null || echo 2)
# CUDA=1, CUDA=0; without it the kernels for a GPU are built where one is.
CUDA_OPTION = $(if $(CUDA),-DGAL_CUDA=$(if $(filter 0 OFF off no,$(CUDA)),OFF,ON))
# A make inside this one need not tell which folder it enters.
QUIET    = MAKEFLAGS=--no-print-directory
SOURCES  = $$(git ls-files '*.c' '*.h' '*.cu' '*.cuh' 2>/dev/null || find src include tests fuzz bench examples -name '*.[ch]')

# Tests that run no code of ours, or not as the build made it.
CHECKS   = includes|budgets|banned|text|headers|self|levels|symbols|install|faults

.DEFAULT_GOAL := help
.PHONY: help deps build build-cuda demo test test-full test-aarch64 test-old-x86 test-tsan test-valgrind fuzz bench bench-kernels bench-train lint format install clean

help: ## print this list
	@echo "galerne: train, run and study models of the Mistral family. Targets:"
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## /  \1|/p' Makefile | awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'

deps: ## install what the build needs from the distribution (Debian, Ubuntu)
	@sh tools/deps.sh

build: deps ## the library and the program, in build/; with CUDA=1 or 0: with or without a GPU's kernels
	@cmake -S . -B build $(CUDA_OPTION) >/dev/null
	@$(QUIET) cmake --build build -j $(JOBS)

build-cuda: deps ## the same with the GPU's kernels, in build-cuda/, whether a GPU is here or not (wants nvcc)
	@cmake -S . -B build-cuda -DGAL_CUDA=ON >/dev/null
	@$(QUIET) cmake --build build-cuda -j $(JOBS)

demo: deps ## train a small model on real text, plot its loss, let it write; under five minutes
	@cmake -S . -B build >/dev/null
	@echo "building" && $(QUIET) cmake --build build -j $(JOBS) --target galerne >/dev/null
	@sh tools/demo.sh $(if $(TEXT),--text "$(TEXT)")

build-asan: deps
	@cmake -S . -B build-asan -DGAL_SANITIZE=ON -DGAL_FAULTS=ON >/dev/null
	@$(QUIET) cmake --build build-asan -j $(JOBS)

.PHONY: build-asan
test: build build-asan ## the quick tests, then again under AddressSanitizer and UndefinedBehaviorSanitizer
	@sh tools/run-tests.sh quick build build-asan

test-full: build build-asan ## the slow tests too (some need Python and the network once, and skip without)
	@sh tools/run-tests.sh all build build-asan

test-aarch64: ## the quick tests built for 64-bit ARM, under qemu (Debian)
	@sh tools/deps.sh --aarch64
	@sh tools/aarch64.sh quick

test-old-x86: ## the quick tests on Nehalem, those that come to kernels on Sandy Bridge and Haswell, under qemu (Debian; PROCESSORS=)
	@sh tools/deps.sh --old-x86
	@sh tools/old-x86.sh $(PROCESSORS)

# Left out: what runs on one thread by nature, and checks of the sources.
test-tsan: deps ## the quick tests that use threads, under ThreadSanitizer
	@cmake -S . -B build-tsan -DGAL_TSAN=ON -DGAL_THIN_TESTS=ON >/dev/null
	@$(QUIET) cmake --build build-tsan -j $(JOBS)
	@TSAN_OPTIONS="suppressions=$(CURDIR)/tests/tsan.supp exitcode=66 history_size=4" sh tools/run-tests.sh quick \
	  -E '^(kernels.*|ops_gradcheck|ops_composite|convert|safetensors.*|hf_config|npy|text_tokenizer|$(CHECKS))$$' build-tsan

# --keep-debuginfo: so that tests/valgrind.supp knows libraries that are unloaded by then.
# Left out: kernels, gradients and whole models number by number (minutes each at a fiftieth of the speed; their reads
# and writes are AddressSanitizer's in `make test`, and ops_levels, infer_* and train run the same kernels here), and
# checks of the sources.
MEMCHECK = valgrind;--quiet;--vgdb=no;--keep-debuginfo=yes;--error-exitcode=99;--leak-check=full;--show-leak-kinds=definite;--errors-for-leak-kinds=definite;--fair-sched=yes;--suppressions=$(CURDIR)/tests/valgrind.supp
test-valgrind: ## the quick tests under valgrind, but for those of the kernels
	@sh tools/deps.sh --valgrind
	@cmake -S . -B build-valgrind -DGAL_THIN_TESTS=ON '-DGAL_TEST_LAUNCHER=$(MEMCHECK)' >/dev/null
	@$(QUIET) cmake --build build-valgrind -j $(JOBS)
	@sh tools/run-tests.sh quick -E '^(kernels.*|ops_gradcheck|ops_composite|parity|$(CHECKS))$$' build-valgrind

fuzz: ## libFuzzer on every parser, FUZZ_SECONDS=600 each (clang; sh tools/deps.sh --fuzz)
	@CC=clang cmake -S . -B build-fuzz -DGAL_FUZZ=ON -DGAL_SANITIZE=ON -DGAL_TESTS=OFF >/dev/null
	@$(QUIET) cmake --build build-fuzz -j $(JOBS) --target fuzz_targets
	@sh tools/fuzz.sh build-fuzz "$(or $(FUZZ_SECONDS),600)" $(FUZZ)

bench: build ## models beside llama.cpp and PEER=, turn by turn (PYTHON=, GENERATOR=, MODELS=, ONLY=, ARGS=; hours; python3 needed)
	@PYTHON="$(PYTHON)" PEER="$(PEER)" GENERATOR="$(GENERATOR)" MODELS="$(MODELS)" ONLY="$(ONLY)" ARGS="$(ARGS)" \
	  python3 bench/models.py $(ARGS)

bench-kernels: build ## time the kernels on this machine
	@sh bench/kernels.sh build

bench-train: build ## training speed beside PyTorch, taking turns (PYTHON=, PEER=, ARGS=; python3 needed)
	@PYTHON="$(PYTHON)" PEER="$(PEER)" python3 bench/train.py $(ARGS)

lint: ## clang-format, clang-tidy and cppcheck without complaint
	@sh tools/lint.sh

format: ## rewrite the sources as .clang-format says
	@clang-format -i $(SOURCES)

install: build ## into PREFIX (/usr/local), below DESTDIR if set
	@cmake -S . -B build -DCMAKE_INSTALL_PREFIX="$(PREFIX)" >/dev/null
	@cmake --build build -j $(JOBS) >/dev/null
	@DESTDIR="$(DESTDIR)" cmake --install build

clean: ## remove what was built
	@rm -rf build build-asan build-clang build-lint build-cuda build-aarch64 build-old-x86 build-tsan build-valgrind build-fuzz
