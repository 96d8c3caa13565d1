# SPDX-License-Identifier: LGPL-2.1-or-later
"""What `kdumpd crashes analyse` asks drgn, which runs this: `drgn -c VMCORE -s VMLINUX drgn_script.py QUESTION`.

Nothing of kdumpd imports it. drgn has commands like those of crash(8) since 0.1.0; Debian 12 has 0.0.22.
"""

import sys
from collections.abc import Callable

import drgn
from drgn.helpers.linux.cpumask import for_each_online_cpu
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.percpu import per_cpu
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.printk import get_dmesg


def log(prog: drgn.Program) -> None:
    """The kernel's log."""
    print(get_dmesg(prog).decode(errors="replace"))


def bt(prog: drgn.Program) -> None:
    """What every CPU was doing."""
    for cpu in for_each_online_cpu(prog):
        task = per_cpu(prog["runqueues"], cpu).curr
        print(f"PID: {task.pid.value_()}  CPU: {cpu}  COMMAND: {_name(task)}")
        try:
            print(prog.stack_trace(task), end="\n\n")
        except (LookupError, ValueError, drgn.FaultError) as problem:
            print(f"no stack: {problem}\n")


def ps(prog: drgn.Program) -> None:
    """Every task."""
    print("    PID    PPID  STATE  COMMAND")
    for task in for_each_task(prog):
        # Renamed in 5.14 (2f064a59a11f, "sched: Change task_struct::state").
        state = task.member_("__state" if task.type_.type.has_member("__state") else "state").value_()
        print(f"{task.pid.value_():>7} {task.real_parent.pid.value_():>7} {state:>6}  {_name(task)}")


def mod(prog: drgn.Program) -> None:
    """Every module, with its taint flags."""
    for module in list_for_each_entry("struct module", prog["modules"].address_of_(), "list"):
        print(f"{module.name.string_().decode(errors='replace'):<32} taints {module.taints.value_():#x}")


def _name(task: drgn.Object) -> str:
    return str(task.comm.string_().decode(errors="replace"))


QUESTIONS: dict[str, Callable[[drgn.Program], None]] = {"log": log, "bt": bt, "ps": ps, "mod": mod}

if __name__ == "__main__":
    try:
        QUESTIONS[sys.argv[1]](globals()["prog"])
    except (LookupError, ValueError, drgn.FaultError) as problem:
        sys.exit(f"drgn {drgn.__version__}: {problem}")
