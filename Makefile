# `make` alone lists the targets: the words after ## are their help.

.DEFAULT_GOAL := help
.PHONY: help ci build test test-matrix race models faults mutate fuzz lint format bench bench-peers bench-brokers growth example page-pictures release

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

ci: ## Run everything that must hold before a change lands
	bash .ci/run

build: ## Compile every package
	bash .ci/run build

test: ## Run the tests, on a throwaway PostgreSQL or on DATABASE_URL
	go test ./...

test-matrix: ## Run the tests on PostgreSQL 14 to 18, installed or downloaded by npm (VERSIONS=18 PACKAGES=./queue for a part)
	bash .ci/matrix $(VERSIONS) $(PACKAGES)

race: ## Run the tests under the race detector, as CI does
	bash .ci/run test

models: ## Search the models of docs/models whole, and refute their broken variants (needs spin)
	bash .ci/models

ROUNDS ?= 100
SEED ?= 1

faults: ## Run rounds of processes, producers and faults, and check that all promises held (ROUNDS=1000 SEED=42 for others)
	go test ./internal/faults/suite -timeout 0 -v -args -rounds $(ROUNDS) -seed $(SEED) -slow -keep-going

mutate: ## Break the library on purpose, a mutation at a time, and name those that no test kills (MUTATIONS=a b for some)
	bash .ci/mutate $(MUTATIONS)

lint: ## Check the formatting, vet for Linux, Windows and macOS, and run staticcheck
	bash .ci/run format vet lint

fuzz: ## Compare 100,000 pairs of schemas, then look for names, payloads, schemas, schedule specs, command lines and filters that break a promise, a minute for each target
	go test ./schema -run '^(TestStrictKeepsItsWord|TestRefusalsHaveAReason)$$' -rapid.checks=100000 -v -timeout 60m
	set -e; for t in schema/FuzzValidate schema/FuzzReference schema/FuzzGenerate schema/FuzzCompatible \
		internal/core/FuzzCheckName internal/core/FuzzCheckJSON schedule/FuzzParse cli/FuzzReorder ops/FuzzTaskFilter; do \
		go test ./$${t%/*} -run '^$$' -fuzz "^$${t##*/}$$" -fuzztime 60s -fuzzminimizetime 10x; done

format: ## Rewrite the sources with gofmt
	gofmt -w .

example: ## Run examples/orderflow; it ends in "orderflow: ok"
	go run ./examples/orderflow

page-pictures: ## Make the pictures of docs/page anew (needs Chromium)
	cd ops/browsertest && go test -count=1 -run TestPictures -pictures ../../docs/page .

bench: ## Measure enqueueing, working and latency on a durable server, and the share of a publish that validation takes
	go test -run '^$$' -bench . ./queue
	go test -run '^$$' -bench Publish ./schema

bench-peers: ## Measure this library and its peers by turns on one durable server, and write docs/benchmarks.md (FLAGS='-only drain -peers river -rounds 1' prints a part)
	cd bench/peers && go run . $(if $(FLAGS),$(FLAGS),-page ../../docs)

bench-brokers: ## Measure forwarders to JetStream and kfake, and workers at JetStream, beside the database's own
	cd events/jetstream && go test -run '^$$' -bench Forward -benchtime 3x .
	cd events/kafka && go test -run '^$$' -bench Forward -benchtime 1x .
	cd queue/jetstream && go test -run '^$$' -bench Tasks -benchtime 1x .

growth: ## Work 5,000 tasks a second for half an hour while 10 million wait and reports hold snapshots open
	go run ./bench/growth

release: ## Check what the tag of a release needs, and say what a person does then (VERSION=v0.1.0)
	bash .ci/release $(VERSION)
