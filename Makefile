# Two commands for people: `make run` and `make test`. The rest is what they are made of.

CARGO ?= cargo
# Gzip by ISA-L, if what building it takes is here.
FEATURES ?= $(shell dist/dev/features.sh)
PREFIX ?= /usr/local
TARGET_DIR = $(or $(CARGO_TARGET_DIR),target)

.PHONY: help run test soak build lint fmt doc bench install clean-run

help:
	@echo 'make run      build, serve a private store in ./run, load an image and show it'
	@echo 'make test     install what the tests need (Debian) and run everything'
	@echo 'make soak     the long runs of the tests that break things, with a table of figures'
	@echo 'make lint     format and clippy, as the tests do'
	@echo 'make fmt      format the sources'
	@echo 'make doc      build the documentation, as the tests do'
	@echo 'make bench    measure beside a real Podman service'
	@echo 'make build    the release binary'
	@echo 'make install  binary and systemd units below PREFIX=$(PREFIX) (DESTDIR is honoured)'
	@echo 'make clean-run  remove what make run left in ./run'

run:
	@dist/dev/run.sh

test:
	@dist/dev/test.sh

soak:
	@dist/dev/soak.sh

build:
	$(CARGO) build --release --locked $(FEATURES)

lint:
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path tests/peers/rust/Cargo.toml
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO) clippy --locked --all-targets $(FEATURES) -- -D warnings

fmt:
	$(CARGO) fmt
	$(CARGO) fmt --manifest-path tests/peers/rust/Cargo.toml
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml

doc:
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --document-private-items

bench: build
	$(CARGO) bench --locked $(FEATURES) --bench against-podman

install:
	install -Dm755 $(TARGET_DIR)/release/imaged $(DESTDIR)$(PREFIX)/bin/imaged
	for scope in system user; do \
	    for unit in socket service; do \
	        install -d $(DESTDIR)$(PREFIX)/lib/systemd/$$scope && \
	        sed 's|@BINDIR@|$(PREFIX)/bin|' dist/systemd/$$scope/imaged.$$unit \
	            > $(DESTDIR)$(PREFIX)/lib/systemd/$$scope/imaged.$$unit || exit; \
	    done; \
	done

clean-run:
	@dist/dev/run.sh clean
