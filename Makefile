# Everything around the package. `make` alone prints the goals. Each goal works on a fresh machine that has Swift 6.3: what
# is missing is installed by scripts/need, which says so.

SWIFT ?= swift
PREFIX ?= /usr/local
DESTDIR ?=
VERSION := 0.1.0

# make test: minutes that all of it may take; more on a slow machine.
LIMIT ?= 15

# make stress: how long, what, on how many threads, replaying which seed, under which sanitizer (thread, address, or none).
SECONDS ?= 60
SCENARIO ?= all
THREADS ?=
SEED ?=
SANITIZE ?= thread

# make libraries, make install: 1: valgrind's memcheck sees objects (docs/valgrind.md).
VALGRIND ?=

# make model: FULL=1 explores further.
FULL ?=
# make soak: how long. make fuzz: KEEP=1 replaces the corpus by what was found; which driver alone.
HOURS ?= 8
KEEP ?=
DRIVER ?=

comma := ,
# Sets of flags that would overwrite each other's objects keep apart: .build is for `swift build` by hand.
INTERPOSER := $(if $(VALGRIND),.build-valgrind,.build-interposer)
TRAITS := Interposer$(if $(VALGRIND),$(comma)Valgrind)
COMMAND := .build-command
TESTS := .build-test
STAGE := $(CURDIR)/.build-stage

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

.PHONY: help run test package install stage libraries recorder command model stress soak fuzz bench curves bench-original programs format lint clean ground

help: ## Print this
	@echo 'Mempool: a concurrent memory-allocator runtime. Goals:'
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile
	@echo 'Variables:'
	@echo '  PREFIX=dir     make install: where to ($(PREFIX)); DESTDIR is put before it'
	@echo '  VALGRIND=1     make libraries, make install: memcheck sees objects (docs/valgrind.md)'
	@echo '  LIMIT=minutes  make test fails when it takes longer ($(LIMIT))'
	@echo '  SECONDS=n SCENARIO=name THREADS=n SEED=n SANITIZE=thread|address|none'
	@echo '                 make stress ($(SECONDS) seconds of $(SCENARIO), SANITIZE=$(SANITIZE))'
	@echo '  FULL=1         make model: explores further'
	@echo '  HOURS=n        make soak ($(HOURS); a fraction will do)'
	@echo '  SECONDS=n KEEP=1 DRIVER=name'
	@echo '                 make fuzz ($(SECONDS) seconds); KEEP=1: the corpus of the tests is made anew;'
	@echo '                 DRIVER: only that one (Fuzz/Drivers/Fuzz.swift)'
	@echo '  PROGRAM=name   make programs: only that one (Tests/RealPrograms/run --list)'
	@echo '  QUICK=1 BENCH="options"'
	@echo '                 make bench, make curves: roughly; and options for Benchmarks/suite or curves (--help)'

run: libraries ## Run redis-server on Mempool and on the system's malloc, side by side
	@scripts/compare-redis --library $(INTERPOSER)/stage/libmempool-malloc.so

test: ground ## Run all tests but those of make package, the real programs (make programs) and the long stress runs (make stress)
	@SWIFT='$(SWIFT)' LIMIT='$(LIMIT)' scripts/run-tests '$(STAGE)' '$(TESTS)'

package: ground stage ## Test what is built from the package besides: as a dependency, its documentation, libraries for valgrind, the drop-in talloc, studies
	@MEMPOOL_PREFIX='$(STAGE)' scripts/run-suites Valgrind Dependent Talloc Study Documentation

programs: libraries ## Run real programs on Mempool and compare their output with the system's malloc
	@Tests/RealPrograms/run --library $(INTERPOSER)/stage/libmempool-malloc.so $(PROGRAM)

model: ground ## Check every interleaving of small scenarios (Tests/ModelTests/README.md; 2 minutes; FULL=1: longer)
	@Tests/ModelTests/run $(if $(FULL),--full)

stress: ground ## Run the stress scenarios under a sanitizer
	$(SWIFT) run -c release $(if $(filter-out none,$(SANITIZE)),--sanitize=$(SANITIZE)) \
	  --scratch-path .build-stress-$(SANITIZE) mempool-stress --scenario $(SCENARIO) --seconds $(SECONDS) \
	  $(if $(THREADS),--threads $(THREADS)) $(if $(SEED),--seed $(SEED))

soak: ground ## Run the stress scenarios for HOURS, plain and under each sanitizer in turn, and sum up; Ctrl-C sums up, too
	@SWIFT='$(SWIFT)' scripts/soak $(HOURS) $(if $(THREADS),--threads $(THREADS))

fuzz: ground ## Fuzz every type that takes a caller's input, for SECONDS
	@SWIFT='$(SWIFT)' scripts/fuzz $(SECONDS) $(if $(KEEP),--keep) $(if $(DRIVER),--driver $(DRIVER))

bench: libraries ## Run the benchmark suite on six allocators (Benchmarks/README.md; 50 minutes; QUICK=1: 3 minutes)
	@scripts/need python3
	@Benchmarks/suite $(if $(QUICK),--quick,$(if $(filter 0,$(shell id -u)),--always-huge-pages)) $(BENCH)
	@$(if $(QUICK),,Benchmarks/instructions && Benchmarks/curves)

curves: libraries ## Measure how six allocators grow: time against live objects, throughput and memory against threads
	@scripts/need python3
	@Benchmarks/curves $(if $(QUICK),--quick) $(BENCH)

bench-original: command ## The original's benchmark: mempool bench, against the C library, phase by phase
	@$(COMMAND)/release/mempool bench $(BENCH)

libraries: ground $(INTERPOSER)/default-visibility $(INTERPOSER)/mempool-c.map $(INTERPOSER)/mempool-malloc.map $(INTERPOSER)/mempool-talloc.map ## Build the three shared libraries
	$(call shared-library,mempool-c,libmempool.so)
	$(call shared-library,mempool-malloc,libmempool-malloc.so)
	$(call shared-library,mempool-talloc,libmempool-talloc.so)

recorder: $(INTERPOSER)/stage/libmempool-record.so ## Build what `mempool record` preloads

command: ground ## Build the command mempool
	$(SWIFT) build -c release --traits CommandLine --scratch-path $(COMMAND) --product mempool --static-swift-stdlib

install: libraries recorder command ## Install the command, the libraries, the header and the pkg-config file into PREFIX
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(PREFIX)/lib/pkgconfig' '$(DESTDIR)$(PREFIX)/include'
	install -m 755 $(COMMAND)/release/mempool '$(DESTDIR)$(PREFIX)/bin/mempool'
	install -m 755 $(INTERPOSER)/stage/libmempool.so $(INTERPOSER)/stage/libmempool-malloc.so \
	  $(INTERPOSER)/stage/libmempool-talloc.so $(INTERPOSER)/stage/libmempool-record.so '$(DESTDIR)$(PREFIX)/lib'
	install -m 644 Sources/CMempool/include/mempool.h '$(DESTDIR)$(PREFIX)/include/mempool.h'
	sed 's/@VERSION@/$(VERSION)/' scripts/mempool.pc.in >'$(DESTDIR)$(PREFIX)/lib/pkgconfig/mempool.pc'

# The installed layout inside the work tree, for the test suites that need it.
stage:
	@$(MAKE) install PREFIX='$(STAGE)' DESTDIR= >$(STAGE).log 2>&1 || { cat $(STAGE).log; exit 1; }

format: ## Format every Swift file in place
	$(SWIFT) format --in-place --parallel $$(scripts/swift-files)

lint: ## Check format, floors, memory orderings and shell scripts
	$(SWIFT) format lint --strict --parallel $$(scripts/swift-files)
	@scripts/floors
	@scripts/need python3
	@scripts/memory-ordering --check
	@scripts/check-shell

clean: ## Remove everything that was built
	rm -rf .build .build-*

# What every build stands on. Debian's gcc only recommends the C library's headers, and recommendations are not installed.
ground:
	@scripts/need libatomic-ops-dev pkg-config gcc libc6-dev binutils git ca-certificates $(if $(VALGRIND),valgrind)

# A shared library shows what its list of exports names and nothing else: the Embedded runtime's own symbols, preloaded into a
# Swift program, would replace the real ones. All symbols are bound when it is loaded: binding one during the first malloc
# would enter the loader, which allocates. dlclose leaves it where it is: threads that end, and the thread that purges, still run
# its code. Every module of Embedded Swift brings its own copy of what it calls; the linker takes one, and drops the others only
# where each function has a section of its own: half of the library. lld, because gold lists the hidden thread block among the dynamic symbols. The
# linker does not notice that only the list has changed.
define shared-library
@[ ! $(INTERPOSER)/$(1).map -nt $(INTERPOSER)/release/lib$(1).so ] || rm -f $(INTERPOSER)/release/lib$(1).so
$(SWIFT) build -c release --traits $(TRAITS) --scratch-path $(INTERPOSER) --product $(1) -Xswiftc -use-ld=lld \
  -Xswiftc -Xfrontend -Xswiftc -function-sections -Xlinker --gc-sections \
  -Xlinker -soname=$(2) -Xlinker --version-script=$(abspath $(INTERPOSER))/$(1).map -Xlinker -z -Xlinker now \
  -Xlinker -z -Xlinker nodelete
@install -d $(INTERPOSER)/stage
@[ $(INTERPOSER)/stage/$(2) -nt $(INTERPOSER)/release/lib$(1).so ] || \
  { strip --strip-debug -o $(INTERPOSER)/stage/$(2).new $(INTERPOSER)/release/lib$(1).so && \
    chmod 755 $(INTERPOSER)/stage/$(2).new && \
    $(INTERPOSER)/default-visibility $(INTERPOSER)/stage/$(2).new && \
    mv $(INTERPOSER)/stage/$(2).new $(INTERPOSER)/stage/$(2); }
endef

$(INTERPOSER)/default-visibility: scripts/default-visibility.c | ground
	@install -d $(@D)
	$(CC) -O1 -Wall -Wextra -o $@ $<

# Of plain C: it stands before any malloc, this one or another, and must need neither.
$(INTERPOSER)/stage/libmempool-record.so: Sources/MempoolStudy/Recorder/recorder.c | ground
	@install -d $(@D)
	$(CC) -O2 -Wall -Wextra -fPIC -shared -fvisibility=hidden -fno-builtin -o $@ $< -ldl -pthread

$(INTERPOSER)/mempool-c.map: Sources/CMempool/exports.txt
$(INTERPOSER)/mempool-malloc.map: Sources/MempoolMalloc/exports.txt
# A line of this list is a name and the version of its symbol: later versions build on earlier ones.
$(INTERPOSER)/mempool-talloc.map: Sources/MempoolTalloc/exports.txt
	@install -d $(@D)
	@LC_ALL=C sort -k2,2V -k1,1 $< | awk '$$2 != version { if (version) print (before ? "}" before ";" : "local: *; };"); \
	  if (version) before = " " version; version = $$2; print version " { global:" } { print $$1 ";" } \
	  END { print (before ? "}" before ";" : "local: *; };") }' >$@
$(INTERPOSER)/%.map:
	@install -d $(@D)
	@{ echo '{ global:'; sed 's/#.*//; s/[[:space:]]//g; /./!d; s/$$/;/' $<; echo 'local: *; };'; } >$@
