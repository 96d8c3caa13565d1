# SPDX-License-Identifier: LGPL-2.1-or-later
"""What may keep the kernel from loading a dump kernel: lockdown, signatures, and switches that only go one way."""

from collections.abc import Iterator

from kdumpd.host.check_facts import CheckFacts
from kdumpd.host.facts import Facts
from kdumpd.host.security import UNLIMITED
from kdumpd.plan.findings import Finding, fail, ok, warn

SUBJECT = "loading"
# kdumpd loads again for a new policy, a new kernel, new memory and new CPUs.
FEW_LOADS = 5


def loading_findings(facts: Facts, more: CheckFacts) -> Iterator[Finding]:
    """At least one."""
    found = [*_switches(facts), *_signature(facts, more)]
    yield from found or [ok(SUBJECT, f"nothing forbids it ({_seen(facts, more)})")]


def _switches(facts: Facts) -> Iterator[Finding]:
    if facts.security.kexec_load_disabled:
        # One way only (Documentation/admin-guide/sysctl/kernel.rst).
        yield _obstacle(
            facts,
            "kernel.kexec_load_disabled is 1, so no other dump kernel can be loaded until the next boot",
            "find who sets it: grep -rs kexec_load_disabled /etc/sysctl.conf /etc/sysctl.d /usr/lib/sysctl.d; then reboot",
        )
    left = facts.security.loads_left
    if left == 0:
        fact = "kernel.kexec_load_limit_panic is 0, so no other dump kernel can be loaded until the next boot"
        yield _obstacle(facts, fact, "reboot; a limit can't be raised")
    elif left != UNLIMITED and left < FEW_LOADS:
        fact = f"kernel.kexec_load_limit_panic lets only {left} more dump kernels be loaded until the next boot"
        yield warn(SUBJECT, fact, "reboot; a limit can't be raised")


def _signature(facts: Facts, more: CheckFacts) -> Iterator[Finding]:
    """Only kexec_file_load can check a signature, so lockdown forbids the other call (kernel/kexec.c, kexec_file.c)."""
    config = more.system_config
    forced = config is not None and config.has("KEXEC_SIG_FORCE")
    if facts.security.is_locked_down and config is not None and not config.has("KEXEC_FILE"):
        fact = f"lockdown ({facts.security.lockdown}) forbids kexec_load, and this kernel has no CONFIG_KEXEC_FILE"
        yield _obstacle(facts, fact, "run a kernel with CONFIG_KEXEC_FILE, or turn Secure Boot off")
        return
    checked = facts.security.is_locked_down and (config is None or config.has("KEXEC_SIG"))
    if not (forced or checked):
        return
    why = "CONFIG_KEXEC_SIG_FORCE" if forced else f"lockdown ({facts.security.lockdown})"
    if more.dump_kernel_signed is None:
        fact = f"{why} wants a signed dump kernel; whether {facts.kernel_image or 'it'} is, can't be seen"
        yield warn(SUBJECT, fact, "run this as root; or see: sbverify --list IMAGE")
    elif more.dump_kernel_signed:
        yield ok(SUBJECT, f"{why} wants a signed dump kernel, and {facts.kernel_image} is signed")
    else:
        hint = "install the distribution's signed kernel" + ("" if forced else ", or turn Secure Boot off")
        yield _obstacle(facts, f"{why} wants a signed dump kernel, and {facts.kernel_image} has no signature", hint)


def _obstacle(facts: Facts, fact: str, way_out: str) -> Finding:
    """What is loaded stays loaded."""
    return warn(SUBJECT, fact, way_out) if facts.kexec.loaded else fail(SUBJECT, fact, way_out)


def _seen(facts: Facts, more: CheckFacts) -> str:
    secure_boot = {None: "no Secure Boot here", True: "Secure Boot on", False: "Secure Boot off"}[more.secure_boot]
    return f"{secure_boot}, lockdown {facts.security.lockdown or 'unknown'}"
