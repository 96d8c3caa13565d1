# SPDX-License-Identifier: LGPL-2.1-or-later
# Every target installs what it needs by itself, on Debian 12 and 13: apt for what Debian has, PyPI for ruff and atheris, which it has
# not, and for pydbus' source, which goes into the .rpm.

# Debian's own Python, with Debian's own modules: what a server has.
PYTHON := /usr/bin/python3
TOOLS := .tools
RUFF := $(TOOLS)/bin/ruff
RUFF_VERSION := 0.14.4
ATHERIS_VERSION := 3.0.0
ATHERIS := $(TOOLS)/atheris-$(ATHERIS_VERSION)
FUZZ_SECONDS ?= 30
FUZZ_TARGETS := text report records settings status redact
SHELL_SCRIPTS := .ci/run docs/build-pages tests/verify-units.sh tests/vm/make-roots.sh packaging/completions/*.bash \
	$(addprefix packaging/deb/,config postinst postrm prerm tests/crash-and-come-back) packaging/dracut/*/*.sh packaging/examples/* \
	packaging/initramfs-tools/hooks/* packaging/initramfs-tools/scripts/*/* packaging/initrd/* packaging/kernel/*/*
DEB := build/kdumpd.deb
RPM := build/kdumpd.rpm
SRPM := build/kdumpd.src.rpm
# pip asks a source for its metadata, which takes setuptools. Python 3.12 and later (Debian 13) make an environment without it.
SETUPTOOLS_VERSION := 80.9.0
PYDBUS_VERSION := 0.6.0
PYDBUS := build/pydbus-$(PYDBUS_VERSION).tar.gz
PYDBUS_HASH := 4207162eff54223822c185da06c1ba8a34137a9602f3da5a528eedf3f78d0f2c
DEB_SOURCES := $(shell find kdumpd templates units packaging docs -type f -not -path '*/__pycache__/*')
RPM_SOURCES := $(DEB_SOURCES) $(shell find tests/unit tests/data -type f -not -path '*/__pycache__/*')
PYTEST := $(PYTHON) -m pytest --numprocesses=2 --dist=loadgroup
ARGS ?=

RUN_NEEDS := python3 python3-gi python3-jinja2 python3-pydbus python3-pyudev python3-yaml
TEST_MODULES := python3-dbusmock python3-hypothesis python3-jsonschema python3-prometheus-client python3-pytest python3-pytest-mock python3-pytest-xdist
CHECK_NEEDS := $(RUN_NEEDS) $(TEST_MODULES) lintian mypy procps python3-venv shellcheck systemd
DEB_NEEDS := build-essential debhelper dh-python dpkg-dev python3 scdoc
TEST_NEEDS := $(RUN_NEEDS) $(TEST_MODULES) dbus-daemon grub-common kexec-tools libglib2.0-bin makedumpfile man-db scdoc systemd util-linux zsh
VM_NEEDS := debian-archive-keyring dosfstools e2fsprogs fdisk mmdebstrap mtools util-linux

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-all test-fast matrix fuzz check format deb rpm bench faults picture vm clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: deb ## watch the main job: policy, plan, apply, reboot, crash, capture, next boot
	@$(call need,$(TEST_NEEDS) $(VM_NEEDS))
	@$(PYTHON) -m tests.vm.demo $(DEB)

test: deb rpm ## the tests, and each capability in a virtual machine that crashes, Debian 12 and 13 (ARGS="-k name" for some)
	@$(call need,$(TEST_NEEDS) $(VM_NEEDS))
	$(PYTEST) --tier=test $(ARGS)

test-all: deb rpm ## every test: more faults, roots on xfs, btrfs, LVM and LUKS, the guide, the life of the packages
	@$(call need,$(TEST_NEEDS) $(VM_NEEDS))
	$(PYTEST) --tier=test-all $(ARGS)

test-fast: ## the tests that need no virtual machine
	@$(call need,$(TEST_NEEDS))
	$(PYTEST) --tier=test-fast $(ARGS)

matrix: deb ## the main job on every system; writes docs/systems.md (ARGS=trixie: one of them)
	@$(call need,$(TEST_NEEDS) $(VM_NEEDS))
	$(PYTHON) -m tests.vm.matrix $(ARGS)

fuzz: $(ATHERIS) ## search for bytes that the readers of logs and reports stumble over, 30 s each (FUZZ_SECONDS=600)
	@for target in $(FUZZ_TARGETS); do echo "$$target:"; $(TOOLS)/bin/python -m tests.fuzz $$target -max_total_time=$(FUZZ_SECONDS) || exit 1; done

check: $(RUFF) deb $(SRPM) ## linters and types
	@$(call need,$(CHECK_NEEDS))
	$(RUFF) format --check .
	$(RUFF) check .
	$(RPMLINT) packaging/rpm/kdumpd.spec build/rpm/SRPMS/*.src.rpm
	mypy
	shellcheck $(SHELL_SCRIPTS)
	tests/verify-units.sh $(DEB)
	lintian --allow-root --fail-on error,warning $(DEB)

format: $(RUFF) ## format the code
	$(RUFF) format .
	$(RUFF) check --fix .

deb: $(DEB) ## build the package: build/kdumpd.deb

rpm: $(RPM) ## build the package for Fedora and RHEL, with its %check: build/kdumpd.rpm

# What reads crashes is measured here; all else needs the guest.
BENCH_NEEDS_A_GUEST = $(filter-out crashes,$(or $(ARGS),all))
bench: $(if $(BENCH_NEEDS_A_GUEST),deb) ## what kdumpd costs, beside kdump-tools; writes docs/benchmarks.md (ARGS=capture, daemon or crashes: a part)
	@$(call need,$(TEST_NEEDS) $(if $(BENCH_NEEDS_A_GUEST),$(VM_NEEDS)))
	@$(PYTHON) -m tests.bench $(DEB) $(ARGS)

picture: ## docs/demo.svg, of the last `make demo`
	@$(PYTHON) -m tests.vm.picture

faults: ## docs/faults.md, by the last `make test-all`
	@$(PYTHON) -m tests.vm.faults_table

vm: deb ## an interactive guest with the package installed, on this terminal (root, no password)
	@$(call need,$(TEST_NEEDS) $(VM_NEEDS))
	@$(PYTHON) -m tests.vm.interactive $(DEB)

clean: ## remove what was built here (not the cache of guest images)
	rm -rf build $(TOOLS)

$(DEB): $(DEB_SOURCES)
	@$(call need,$(DEB_NEEDS))
	@rm -rf build/deb
	@mkdir -p build/deb/kdumpd
	@cp -r kdumpd templates units packaging docs build/deb/kdumpd
	@find build/deb -name __pycache__ -prune -exec rm -rf {} +
	@cp -r packaging/deb build/deb/kdumpd/debian
	@cd build/deb/kdumpd && dpkg-buildpackage --build=binary --no-sign >../build.log 2>&1 || { cat ../build.log; exit 1; }
	@cp build/deb/kdumpd_*_all.deb $@
	@echo "built $@"

# Debian's rpm knows nothing of Debian's packages, so what the spec asks for can't be checked: RPM_NEEDS has it.
RPM_NEEDS := $(TEST_NEEDS) rpm rpmlint
RPMBUILD = rpmbuild --nodeps --load packaging/rpm/macros.debian --define '_topdir $(CURDIR)/build/rpm' --define '_sourcedir $(CURDIR)/build'
RPMLINT = rpmlint --strict --config packaging/rpm/rpmlint.toml
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' kdumpd/__init__.py)

$(SRPM): $(RPM_SOURCES) $(PYDBUS) Makefile
	@$(call need,$(RPM_NEEDS))
	@tar --create --gzip --file build/kdumpd-$(VERSION).tar.gz --transform 's,^,kdumpd-$(VERSION)/,' --exclude __pycache__ --sort name \
		--owner 0 --group 0 CONTRIBUTING.md LICENSE Makefile NEWS.md README.md docs kdumpd packaging pyproject.toml templates tests units
	@rm -rf build/rpm
	@$(RPMBUILD) -bs packaging/rpm/kdumpd.spec >/dev/null
	@cp build/rpm/SRPMS/kdumpd-*.src.rpm $@

# Each of them is looked at by rpmlint under the name that rpmbuild gives it.
$(RPM): $(SRPM)
	@$(RPMBUILD) -bb packaging/rpm/kdumpd.spec >build/rpm/build.log 2>&1 || { cat build/rpm/build.log; exit 1; }
	@$(RPMLINT) build/rpm/RPMS/noarch/*.rpm
	@cp build/rpm/RPMS/noarch/kdumpd-*.rpm $@
	@echo "built $@"

$(PYDBUS): $(RUFF)
	@mkdir -p build
	@$(TOOLS)/bin/python -m pip install --quiet setuptools==$(SETUPTOOLS_VERSION)
	@echo "pydbus==$(PYDBUS_VERSION) --hash=sha256:$(PYDBUS_HASH)" >build/pydbus.txt
	@$(TOOLS)/bin/python -m pip download --quiet --no-deps --no-binary :all: --no-build-isolation --require-hashes --dest build --requirement build/pydbus.txt
	@touch $@

$(RUFF): Makefile
	@$(call need,python3-venv)
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet ruff==$(RUFF_VERSION)
	touch $@

$(ATHERIS): $(RUFF)
	$(TOOLS)/bin/python -m pip install --quiet atheris==$(ATHERIS_VERSION)
	touch $@

# Installs the packages that are missing, as root; says nothing when none is. One at a time, as apt has one lock.
need = exec 9<Makefile && flock 9; missing=$$(dpkg-query -W -f '$${db:Status-Status} $${Package}\n' $(1) 2>&1 | sed -n 's/^dpkg-query: no packages found matching //p; s/^not-installed //p; s/^config-files //p'); \
	[ -z "$$missing" ] || { echo "installing:" $$missing; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing >/dev/null; }
