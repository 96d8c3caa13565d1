# SPDX-License-Identifier: LGPL-2.1-or-later
"""Turns the policy into the text of every file that kdumpd owns."""

import re
import shlex
from collections.abc import Mapping

import jinja2

from kdumpd.capture.settings import FinalAction
from kdumpd.errors import KdumpdError
from kdumpd.host import layout
from kdumpd.host.facts import BootLoader, Facts
from kdumpd.plan.command_line import added_parameters
from kdumpd.plan.doors import units
from kdumpd.plan.handover import capture_parameters, capture_settings
from kdumpd.plan.kernel_values import EARLY_PSTORE, sysctls
from kdumpd.plan.wanted import Wanted
from kdumpd.policy.model import Loader, Policy
from kdumpd.policy.show import dump_policy

# systemd 252 (Debian 12) has no halt among its failure actions; a machine that was to stop is switched off instead.
FAILURE_ACTIONS = {
    FinalAction.POWEROFF: "poweroff-immediate",
    FinalAction.REBOOT: "reboot-immediate",
    FinalAction.HALT: "poweroff-immediate",
}
# systemd stops the capture this many seconds after it should have ended by itself, and ends the machine as many later.
UNIT_GRACE = 30
JOB_GRACE = 60
# However little time the first door has left, the second takes this long.
SECOND_DOOR = 60
# systemd gives a device up after this long (DefaultDeviceTimeoutSec=), and the capture begins without what is on it.
DEVICE_PATIENCE = 90
# What GRUB's script language reads as more than itself, outside quotes (grub-core/script/yylex.l).
GRUB_SPECIAL = re.compile(r"""([\\$"'#;&|<>{}*?\[\]])""")


def render_files(policy: Policy, wanted: Wanted, facts: Facts) -> dict[str, str | None]:
    """Absolute path -> text, for all files; None for one that this policy has no use for.

    Raises:
        KdumpdError: a template is broken, asks for a value that there is not, or may have been written by somebody else than root.
            Not so that ours is used in its place: that would undo what the administrator wanted. What was applied stays.
    """
    if facts.template_problem:
        fact, hint = facts.template_problem
        raise KdumpdError(fact, hint=hint)
    render = _Renderer(facts.templates, _values(policy, wanted, facts))
    region, tools = wanted.region, facts.kdump_tools
    # Its udev rule unloads whatever is loaded, also with USE_KDUMP=0 (kdump-config's condreload in 1.8.1 and 1.10.7), unless
    # udevd's SystemCallFilter= happens to forbid it kexec, as Debian 12's does.
    stands_down = tools is not None and policy.loader is Loader.KDUMPD
    files = {
        layout.GRUB_DROP_IN: render("grub.cfg.j2") if facts.boot.loader is BootLoader.GRUB else None,
        layout.KDUMP_TOOLS: render("kdump-tools.j2"),
        layout.UDEV_RULE: render("udev.rules.j2") if stands_down else None,
        layout.SYSCTL: render("sysctl.conf.j2"),
        layout.TMPFILES: render("tmpfiles.conf.j2") if policy.panic.early_pstore else None,
        layout.RAMOOPS_OPTIONS: render("modprobe.conf.j2") if region else None,
        layout.CAPTURE_DROP_IN: render("capture-service.conf.j2"),
        layout.CAPTURE_SETTINGS: capture_settings(policy, facts).to_json(),
        layout.BOOT_PARAMETERS: "".join(f"{word}\n" for word in wanted.parameters),
        layout.IN_FORCE: dump_policy(policy),
        # Whoever applies a policy wants it, also when it was rolled back before.
        layout.ROLLED_BACK: None,
    }
    return {layout.absolute(path): text for path, text in files.items()}


def _values(policy: Policy, wanted: Wanted, facts: Facts) -> dict[str, object]:
    """What a template may use."""
    capture = policy.capture
    needs = units(facts)
    timeout = max(capture.deadline, SECOND_DOOR) + UNIT_GRACE
    return {
        "policy_file": layout.absolute(layout.POLICY),
        "parameters": wanted.parameters,
        "sysctls": sysctls(policy),
        "early_pstore": EARLY_PSTORE,
        "ramoops": wanted.region.options if wanted.region else {},
        "use_kdump_tools": policy.loader is Loader.KDUMP_TOOLS,
        "store": capture.stores[0],
        "dmesg": capture.dmesg,
        "keep_count": capture.keep.count,
        "dump_parameters": " ".join(added_parameters(policy.dump_kernel, facts.platform, capture_parameters(policy, facts))),
        "timeout": timeout,
        "job_timeout": timeout + JOB_GRACE + (DEVICE_PATIENCE if any(mount.obstacle for mount in facts.state) else 0),
        "awaited": needs.awaited,
        "wanted": needs.wanted,
        "failure_action": FAILURE_ACTIONS[capture.on_failure],
    }


class _Renderer:
    """Calls a template by its name; an administrator's copy is used instead of ours, and checked like it."""

    def __init__(self, templates: Mapping[str, str], values: Mapping[str, object]) -> None:
        self._values = values
        self._environment = jinja2.Environment(
            loader=jinja2.DictLoader(templates),
            undefined=jinja2.StrictUndefined,
            autoescape=False,  # noqa: S701 - these are no web pages; text for a shell goes through the filter `shell`
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            finalize=_refuse_none,
        )
        self._environment.filters |= {"shell": shell_word, "grub": grub_word}

    def __call__(self, name: str) -> str:
        try:
            return self._environment.get_template(name).render(self._values)
        except jinja2.TemplateSyntaxError as problem:
            raise _broken(name, f"line {problem.lineno}: {problem.message}") from problem
        except jinja2.TemplateError as problem:
            raise _broken(name, str(problem)) from problem


def shell_word(text: object) -> str:
    """One word for a file that both a shell and systemd's EnvironmentFile= read: both know single quotes, and only these alike.

    A ' itself goes into double quotes, in which no other character stands.
    """
    return shlex.quote(str(text))


def grub_word(text: object) -> str:
    """A word for a shell variable that grub-mkconfig pastes into grub.cfg, where GRUB's own script language reads it."""
    return shell_word(GRUB_SPECIAL.sub(r"\\\1", str(text)))


def _broken(name: str, reason: str) -> KdumpdError:
    own = f"/{layout.ADMIN_TEMPLATES}/{name}"
    return KdumpdError(f"the template {name} can't be rendered: {reason}", hint=f"mend or remove {own}, if there is one")


def _refuse_none(value: object) -> object:
    # Jinja would print "None" into a file that a shell reads.
    if value is None:
        raise jinja2.UndefinedError("a value is None")
    return value
