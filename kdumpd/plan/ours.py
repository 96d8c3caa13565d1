# SPDX-License-Identifier: LGPL-2.1-or-later
"""What on this machine is kdumpd's own work, and still as kdumpd left it."""

from kdumpd.host import layout
from kdumpd.host.facts import DumpSet, Facts
from kdumpd.host.hotplug import Hardware
from kdumpd.parameters import tokenize
from kdumpd.plan.command_line import added_parameters
from kdumpd.plan.handover import capture_parameters
from kdumpd.plan.steps import fingerprint
from kdumpd.policy.model import Loader, Policy

RECORDS = {layout.absolute(path) for path in layout.RECORDS}


def was_edited(path: str, facts: Facts) -> bool:
    """Whether a file is there that neither kdumpd wrote nor a package brought."""
    found = facts.files[path]
    if found.content is None or found.pristine or path in RECORDS:
        return False
    return was_changed(path, found.content, facts)


def was_changed(path: str, content: str, facts: Facts) -> bool:
    """Whether this is something else than kdumpd wrote there."""
    return facts.rendered.get(path) != fingerprint(content)


def is_loaded_for(policy: Policy, facts: Facts) -> bool:
    """Whether what is loaded was loaded in this boot by the loader that the policy names, to boot into kdumpd's capture."""
    if policy.loader is Loader.KDUMP_TOOLS:
        return loaded_by_kdump_tools(policy, facts)
    return bool(facts.kexec.loaded) and facts.last_loaded is not None and facts.last_loaded.boot_id == facts.boot_id


def loaded_by_kdump_tools(policy: Policy, facts: Facts) -> bool:
    """Whether what is loaded is from kdump-tools, in this boot, and boots into kdumpd's capture."""
    tools = facts.kdump_tools
    if not facts.kexec.loaded or tools is None or tools.last_command is None:
        return False
    given = tokenize(tools.last_command.replace('"', " "))
    ours = added_parameters(policy.dump_kernel, facts.platform, capture_parameters(policy, facts))
    return tools.loaded_in_this_boot and all(word in given for word in ours)


def misses_hotplug(loaded: DumpSet | None, boot_id: str, now: Hardware) -> bool:
    """Whether memory or CPUs came or went since kdumpd loaded the dump kernel in this boot, and the kernel did not tell it."""
    if loaded is None or loaded.boot_id != boot_id:
        return False
    memory = loaded.memory != now.memory and not now.kernel_follows_memory
    cpus = loaded.cpus != now.cpus and not now.kernel_follows_cpus
    return memory or cpus
