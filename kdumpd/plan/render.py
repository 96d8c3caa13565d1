# SPDX-License-Identifier: LGPL-2.1-or-later
"""Turns the policy into the text of every file that kdumpd owns."""

import shlex
from collections.abc import Mapping

import jinja2

from kdumpd.capture.settings import FinalAction, Settings
from kdumpd.errors import KdumpdError
from kdumpd.host import layout
from kdumpd.host.facts import Facts
from kdumpd.plan.command_line import ADDITIONS
from kdumpd.policy.model import Fault, Policy
from kdumpd.units import format_size

# kernel/panic.c, arch/x86/kernel/nmi.c; the two NMI ones exist on x86 only.
SYSCTL_OF_FAULT = {
    Fault.OOPS: "kernel.panic_on_oops",
    Fault.IO_NMI: "kernel.panic_on_io_nmi",
    Fault.UNRECOVERED_NMI: "kernel.panic_on_unrecovered_nmi",
}
REBOOT_AFTER = "kernel.panic"
SYSCTLS = (REBOOT_AFTER, *SYSCTL_OF_FAULT.values())

# systemd 252 (Debian 12) has no halt among its failure actions; a machine that was to stop is switched off instead.
FAILURE_ACTIONS = {
    FinalAction.POWEROFF: "poweroff-immediate",
    FinalAction.REBOOT: "reboot-immediate",
    FinalAction.HALT: "poweroff-immediate",
}
# systemd stops the capture this many seconds after it should have ended by itself, and ends the machine as many later.
UNIT_GRACE = 30
JOB_GRACE = 60


def sysctls(policy: Policy) -> dict[str, int]:
    """Every sysctl that the policy decides, with its value."""
    faults = {name: int(fault in policy.panic.on) for fault, name in SYSCTL_OF_FAULT.items()}
    return {REBOOT_AFTER: policy.panic.reboot_after, **faults}


def render_files(policy: Policy, facts: Facts) -> dict[str, str]:
    """Absolute path -> text, for all files.

    Raises:
        KdumpdError: a template is broken, or asks for a value that there is not.
    """
    capture = policy.capture
    settings = Settings(stores=capture.stores, deadline=capture.deadline, then=capture.then, on_failure=capture.on_failure)
    values = {
        "policy_file": layout.absolute(layout.POLICY),
        "crashkernel": format_size(policy.crashkernel),
        "sysctls": sysctls(policy),
        "store": capture.stores[0],
        "additions": " ".join(addition.parameter for addition in ADDITIONS),
        "timeout": capture.deadline + UNIT_GRACE,
        "job_timeout": capture.deadline + UNIT_GRACE + JOB_GRACE,
        "failure_action": FAILURE_ACTIONS[capture.on_failure],
    }
    return {
        layout.absolute(layout.GRUB_DROP_IN): _render(facts.templates, "grub.cfg.j2", values),
        layout.absolute(layout.KDUMP_TOOLS): _render(facts.templates, "kdump-tools.j2", values),
        layout.absolute(layout.SYSCTL): _render(facts.templates, "sysctl.conf.j2", values),
        layout.absolute(layout.CAPTURE_DROP_IN): _render(facts.templates, "capture-service.conf.j2", values),
        layout.absolute(layout.CAPTURE_SETTINGS): settings.to_json(),
    }


def _render(templates: Mapping[str, str], name: str, values: Mapping[str, object]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(templates),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - these are no web pages; text for a shell goes through the filter `shell`
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_refuse_none,
    )
    environment.filters["shell"] = lambda text: shlex.quote(str(text))
    try:
        return environment.get_template(name).render(values)
    except jinja2.TemplateError as problem:
        raise KdumpdError(f"the template {name} can't be rendered: {problem}") from problem


def _refuse_none(value: object) -> object:
    # Jinja would print "None" into a file that a shell reads.
    if value is None:
        raise jinja2.UndefinedError("a value is None")
    return value
