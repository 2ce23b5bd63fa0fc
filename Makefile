# Every target first checks what the machine has and installs what is missing; see tools/setup/bootstrap.sh.
.DEFAULT_GOAL := help
.PHONY: help setup build quickstart test test-setup test-fast test-kvm test-kvm-full clean

export PATH := $(CURDIR)/node_modules/.bin:$(PATH)

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

quickstart: setup ## Install what is missing and take the tour: a real program in a microVM of its own
	@node tools/build/main.ts --only image-stock,launcher,material,cli
	@node tools/tour/main.ts

build: setup ## Build everything: guest agent, launcher, base image, both kernels
	@node tools/build/main.ts --progress

test: test-setup ## Run every test (.ci/run does the same)
	@node tools/test/main.ts

test-fast: setup ## Run checks, unit tests and a few microVMs: for daily work
	@node tools/build/main.ts
	@node tools/test/main.ts --fast

test-kvm: test-setup ## Run the suites that need KVM, in a host inside a VM where this machine has none
	@node tools/nested-host/main.ts test

test-kvm-full: test-setup ## The same with the long ones
	@node tools/nested-host/main.ts test --full

clean: ## Remove what was built in this folder; the cache stays
	rm -rf native/target coverage build

setup:
	@tools/setup/bootstrap.sh

test-setup:
	@tools/setup/bootstrap.sh test
	@node tools/build/main.ts --tests
