# SPDX-License-Identifier: LGPL-2.1-or-later
"""The options of both kernels, by excerpts of real configurations."""

import gzip
from pathlib import Path

import pytest

from kdumpd.errors import HostError
from kdumpd.host.kernel_config import KernelConfig, parse_kernel_config, read_kernel_config
from kdumpd.plan.findings import Verdict
from kdumpd.plan.kernel_options import OPTIONS, Need, Role, make_fragment, missing_options, needs, option_findings
from kdumpd.policy.model import CapturePolicy, Policy, PstorePolicy, RamoopsPolicy, VmcorePolicy
from tests.unit.fakes import RELEASE, FakeMachine

DATA = Path(__file__).parents[1] / "data/kernel-config"
DEBIAN = (DATA / "debian-6.1-amd64").read_bytes()


def config(name: str) -> KernelConfig:
    return parse_kernel_config((DATA / name).read_bytes(), name)


def without(option: str, text: bytes = DEBIAN) -> KernelConfig:
    lines = text.decode().splitlines(keepends=True)
    return parse_kernel_config("".join(line for line in lines if f"CONFIG_{option}=" not in line).encode(), "config")


def missing(config: KernelConfig, role: Role) -> list[str]:
    return [option.names[0] for option in missing_options(config, role)]


def test_the_header_tells_version_and_architecture() -> None:
    assert (config("debian-6.1-amd64").version, config("debian-6.1-amd64").arch) == ((6, 1), "x86")
    assert config("x86_64-3.2-debug-pagealloc").version == (3, 2)
    assert config("i386-5.10-without-highmem").is_32_bit_x86


def test_a_very_old_header_tells_the_version() -> None:
    old = parse_kernel_config(b"# Linux kernel version: 2.6.32\n# Wed Aug  2 23:45:48 2006\nCONFIG_X86=y\n", "config")

    assert (old.version, old.arch) == ((2, 6), None)


def test_a_module_counts_and_what_is_not_set_does_not() -> None:
    found = parse_kernel_config(b"CONFIG_PSTORE_RAM=m\n# CONFIG_KEXEC is not set\nCONFIG_NR_CPUS=64\n", "config")

    assert (found.has("PSTORE_RAM"), found.has("KEXEC"), found.has("NR_CPUS")) == (True, False, False)


def test_a_packed_configuration_is_unpacked() -> None:
    assert parse_kernel_config(gzip.compress(DEBIAN), "config.gz").has("KEXEC")


def test_a_file_that_is_no_configuration_is_refused() -> None:
    with pytest.raises(HostError) as caught:
        parse_kernel_config(b"root:x:0:0\n", "/etc/passwd")

    assert str(caught.value) == (
        "/etc/passwd is no kernel configuration: it has no line that begins with CONFIG_\n"
        "hint: give the .config of a kernel, like /boot/config-$(uname -r)"
    )


def test_half_a_packed_file_is_refused() -> None:
    with pytest.raises(HostError, match=r"^cannot unpack config\.gz: "):
        parse_kernel_config(gzip.compress(DEBIAN)[:100], "config.gz")


@pytest.mark.parametrize(
    "place", [f"boot/config-{RELEASE}", f"lib/modules/{RELEASE}/config", f"lib/modules/{RELEASE}/build/.config"]
)
def test_a_configuration_is_found_where_distributions_keep_it(place: str, machine: FakeMachine) -> None:
    machine.write(place, DEBIAN.decode())
    found = read_kernel_config(machine.root, RELEASE, running=True)

    assert found is not None
    assert found.source == f"/{place}"


def test_the_running_kernel_is_believed_first_and_only_for_itself(machine: FakeMachine) -> None:
    machine.write(f"boot/config-{RELEASE}", DEBIAN.decode())
    machine.write_bytes("proc/config.gz", gzip.compress(b"# CONFIG_KEXEC is not set\n"))
    running = read_kernel_config(machine.root, RELEASE, running=True)
    other = read_kernel_config(machine.root, RELEASE, running=False)

    assert (running and running.source, other and other.source) == ("/proc/config.gz", f"/boot/config-{RELEASE}")


def test_a_kernel_whose_configuration_nobody_kept_has_none(machine: FakeMachine) -> None:
    assert read_kernel_config(machine.root, RELEASE, running=True) is None


@pytest.mark.parametrize("name", ["debian-6.1-amd64", "debian-6.12-amd64"])
def test_a_kernel_of_debian_has_all_but_the_console_in_ramoops(name: str) -> None:
    assert missing(config(name), Role.SYSTEM) == ["PSTORE_CONSOLE"]
    assert missing(config(name), Role.DUMP) == []


@pytest.mark.parametrize(
    "option", sorted({option.names[0] for option in OPTIONS} - {"KEXEC", "PSTORE_CONSOLE", "DEBUG_PAGEALLOC", "HIGHMEM"})
)
def test_every_option_is_missed_when_it_is_not_there(option: str) -> None:
    found = without(option, (DATA / "debian-6.12-amd64").read_bytes())

    assert option in missing(found, Role.SYSTEM) + missing(found, Role.DUMP)


def test_either_of_two_ways_to_load_will_do() -> None:
    assert "KEXEC" not in missing(without("KEXEC"), Role.SYSTEM)
    assert "KEXEC" not in missing(without("KEXEC_FILE"), Role.SYSTEM)
    neither = parse_kernel_config(DEBIAN.replace(b"CONFIG_KEXEC=y", b"").replace(b"CONFIG_KEXEC_FILE=y", b""), "config")
    finding = next(option_findings(neither, Role.SYSTEM))

    assert (
        finding.fact == "no CONFIG_KEXEC and no CONFIG_KEXEC_FILE in config: it loads the dump kernel, and starts it after a crash"
    )
    assert (finding.verdict, finding.way_out) == (Verdict.FAIL, "build it with: CONFIG_KEXEC=y")


def test_the_system_kernel_needs_crash_dump_since_6_9_only() -> None:
    assert "CRASH_DUMP" not in missing(without("CRASH_DUMP"), Role.SYSTEM)
    assert "CRASH_DUMP" in missing(without("CRASH_DUMP", (DATA / "debian-6.12-amd64").read_bytes()), Role.SYSTEM)


def test_a_32_bit_kernel_needs_highmem() -> None:
    assert missing(config("i386-5.10-without-highmem"), Role.DUMP) == ["CRASH_DUMP", "PROC_VMCORE", "HIGHMEM", "RELOCATABLE"]


def test_arm64_runs_wherever_it_is_put() -> None:
    arm = parse_kernel_config(b"# Linux/arm64 6.1.0 Kernel Configuration\nCONFIG_ARM64=y\n", "config")

    assert "RELOCATABLE" not in missing(arm, Role.DUMP)


def test_debug_pagealloc_is_a_trap_of_linux_3_2() -> None:
    trap = config("x86_64-3.2-debug-pagealloc")
    (finding, *_) = option_findings(trap, Role.SYSTEM)

    assert finding.fact == (
        "CONFIG_DEBUG_PAGEALLOC is on in x86_64-3.2-debug-pagealloc: with Linux 3.2, a dump is known to fail while it is on"
    )
    assert (finding.verdict, finding.way_out) == (Verdict.FAIL, "build it with: # CONFIG_DEBUG_PAGEALLOC is not set")
    assert "# CONFIG_DEBUG_PAGEALLOC is not set\n" in make_fragment(trap)


def test_debug_pagealloc_is_no_trap_today() -> None:
    today = parse_kernel_config(DEBIAN + b"CONFIG_DEBUG_PAGEALLOC=y\n", "config")

    assert "DEBUG_PAGEALLOC" not in missing(today, Role.SYSTEM)


def test_what_only_a_feature_needs_is_a_warning_when_the_feature_is_used() -> None:
    ramoops = Policy(pstore=PstorePolicy(ramoops=RamoopsPolicy()))
    vmcore = Policy(capture=CapturePolicy(vmcore=VmcorePolicy()))
    found = without("DEBUG_INFO")

    assert [finding.verdict for finding in option_findings(found, Role.SYSTEM, needs(Policy()))] == [Verdict.OK]
    assert [finding.verdict for finding in option_findings(found, Role.SYSTEM, needs(vmcore))] == [Verdict.WARN, Verdict.OK]
    assert Need.RAMOOPS in needs(ramoops)


def test_a_fragment_sets_what_is_missing_and_says_why() -> None:
    assert make_fragment(parse_kernel_config(DEBIAN.replace(b"CONFIG_PROC_VMCORE=y", b""), "config")) == (
        "# system kernel, for the console in ramoops only: it keeps what was printed before a hang that never became a panic\n"
        "CONFIG_PSTORE_CONSOLE=y\n"
        "# dump kernel, needed: /proc/vmcore is the memory of the kernel that crashed\n"
        "CONFIG_PROC_VMCORE=y\n"
    )


@pytest.mark.parametrize("name", sorted(path.name for path in DATA.iterdir()))
def test_a_configuration_with_its_fragment_has_everything(name: str) -> None:
    text = (DATA / name).read_text()
    fragment = make_fragment(config(name))
    # What kconfig concludes from the choices of a fragment.
    concluded = {"CONFIG_HIGHMEM4G=y": "CONFIG_HIGHMEM=y", "CONFIG_DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT=y": "CONFIG_DEBUG_INFO=y"}
    merged = (
        text.replace("CONFIG_DEBUG_PAGEALLOC=y", "")
        + fragment
        + "".join(f"{new}\n" for old, new in concluded.items() if old in fragment)
    )

    assert make_fragment(parse_kernel_config(merged.encode(), name)) == ""


def test_new_kernels_get_debug_information_by_the_choice_that_leads_to_it() -> None:
    assert "CONFIG_DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT=y\n" in make_fragment(without("DEBUG_INFO"))
    assert "CONFIG_DEBUG_INFO=y\n" in make_fragment(config("i386-5.10-without-highmem"))


def test_what_both_kernels_lack_is_in_the_fragment_once() -> None:
    fragment = make_fragment(without("CRASH_DUMP", (DATA / "debian-6.12-amd64").read_bytes()))

    assert fragment.count("CONFIG_CRASH_DUMP=y") == 1
