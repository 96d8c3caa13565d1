# SPDX-License-Identifier: LGPL-2.1-or-later
"""What makes two crashes the same: the kind, and the functions that led there, without what differs from kernel to kernel."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence

from kdumpd.crashes.text.model import Frame, Kind

# Deeper frames differ with the kernel: __do_sys_finit_module() in 6.1 is idempotent_init_module() in 6.12.
DEPTH = 4
_SUFFIX = re.compile(r"(?:\.(?:isra|part|constprop|cold|llvm|cfi|cfi_jt|lto_priv|unlikely|localalias|\d+))+$")
_SYSCALL = re.compile(r"^__(?:do|se|x64|ia32|arm64|ia32_compat|arm64_compat)_(?:compat_)?sys_")
# Those who tell of the fault.
_REPORTING = re.compile(
    r"""^(?:dump_stack|dump_stack_lvl|__dump_stack|dump_backtrace|show_stack|show_trace_log_lvl|__show_regs|show_regs
    |n?m?i?_?panic|vpanic|check_panic_on_warn|panic_other_cpu|__warn|__warn_printk|warn_slowpath_\w+|report_bug|__report_bug|fixup_bug
    |handle_bug|do_error_trap|do_trap|do_invalid_op|invalid_op|exc_\w+|asm_exc_\w+|error_entry|page_fault|async_page_fault|do_page_fault
    |general_protection|divide_error|__die|__die_body|die|die_addr|die_kernel_fault|oops_end|oops_exit|no_context|page_fault_oops
    |kernelmode_fixup_or_oops|__bad_area\w*|bad_area\w*|do_user_addr_fault|do_kern_addr_fault|__do_page_fault|crash_kexec|__crash_kexec
    |arm64_notify_die|bug_handler|brk_handler|call_break_hook|call_el1_break_hook|do_debug_exception|el1h?_\w+|do_mem_abort|do_translation_fault
    |do_el1_\w+|bad_el\w+|bad_mode|panic_bad_stack|handle_bad_stack|__bad_stack|__do_kernel_fault|do_sp_pc_abort|do_bad_area|do_serror|arm64_serror_panic|arm64_is_fatal_ras_serror|__stack_chk_fail
    |print_\w+|kasan_\w+|__kasan_\w+|__asan_\w+|_?printk|vprintk\w*|end_report|ubsan_\w+|__ubsan_\w+|__might_sleep|___might_sleep
    |__might_resched|schedule_debug|__schedule_bug|nmi_\w+|end_repeat_nmi|default_do_nmi|do_nmi|watchdog|watchdog_\w+
    |__perf_event_overflow|perf_event_overflow|handle_pmi_common|intel_pmu_handle_irq|perf_event_nmi_handler|hung_task_panic|check_hung_\w+
    |rcu_dump_cpu_stacks|rcu_sched_clock_irq|rcu_check_callbacks|trigger_\w+backtrace\w*|arch_trigger_\w+|oops_begin|rcu_check_gp_\w+
    |mce_panic|mce_timed_out|mce_start|mce_end|do_machine_check|machine_check|out_of_memory|oom_kill_process)$""",
    re.VERBOSE,
)
# How a task waits; who waits is the one to name.
_WAITING = re.compile(
    r"""^(?:__switch_to\w*|context_switch|__schedule|__sched_text_start|schedule\w*|preempt_schedule\w*|io_schedule\w*|__cond_resched
    |__?wait_\w+|wait_\w+|do_wait_\w+|__mutex_\w+|mutex_\w+|ww_mutex_\w+|rwsem_\w+|__?down\w*|down\w*|rt_mutex_\w+|__rt_mutex_\w+|rt_spin_\w+|rtlock_\w+|rt_(?:read|write)_\w+
    |msleep\w*|usleep_range\w*|fsleep|bit_wait\w*|out_of_line_wait_\w+|folio_wait_\w+|folio_lock|__folio_lock\w*|__lock_page|lock_page|__synchronize_\w+|synchronize_\w+
    |rwbase_\w+|percpu_rwsem_\w+|__percpu_\w+|prepare_to_wait\w*)$""",
    re.VERBOSE,
)
# Where who waits is to blame, or whoever let it wait in a place where nobody may.
_WAITERS = frozenset({Kind.HUNG_TASK, Kind.WARN_PANIC, Kind.STACK_OVERFLOW})
_SWITCHING = frozenset({"__switch_to", "__switch_to_asm", "__schedule", "schedule"})
# How an NMI began. What it came to is not what led to a panic inside of it.
_NMI_ENTRY = frozenset({"end_repeat_nmi", "asm_exc_nmi"})
# How a processor that is stuck came to tell of it.
_INTERRUPTED = re.compile(
    r"""^(?:asm_\w*interrupt|asm_sysvec_\w+|sysvec_\w+|__sysvec_\w+|apic_timer_interrupt|smp_apic_\w+|hrtimer_\w+|__hrtimer_\w+
    |tick_\w+|update_process_times|common_interrupt|gic_handle_irq|handle_domain_irq|generic_handle_\w+|handle_percpu_\w+|arch_timer_handler\w*
    |call_on_irq_stack|do_interrupt_handler|sched_tick|scheduler_tick|irq_work_\w+|local_apic_timer_interrupt|ret_from_intr)$""",
    re.VERBOSE,
)
# Where every call begins: from here on a trace says nothing of the fault.
_ENTRY = re.compile(
    r"""^(?:entry_\w+|do_syscall_\w+|do_int80\w*|do_fast_syscall_32|x64_sys_call|ia32_sys_call|sys_\w+|ret_from_fork\w*|kthread|worker_thread
    |process_one_work|process_scheduled_works|do_one_initcall|do_init_module|load_module|el0\w*|invoke_syscall\w*|do_el0_svc|el0_svc\w*
    |start_secondary|secondary_\w+|cpu_startup_entry|do_idle|cpu_idle_loop|start_kernel|rest_init|arch_call_rest_init|kernel_init\w*
    |x86_64_start_\w+|__primary_switched|__do_softirq|handle_softirqs|irq_exit\w*|__irq_exit\w*|do_softirq\w*|run_ksoftirqd|smpboot_thread_fn
    |asm_common_interrupt|common_interrupt|asm_sysvec_\w+|sysvec_\w+|gic_handle_irq|el1_irq|el1h_64_irq\w*|ret_from_exception)$""",
    re.VERBOSE,
)


def normalise(function: str) -> str:
    """A function's name as its source has it, without what the compiler put to it."""
    name = _SUFFIX.sub("", function.removeprefix("__pfx_").removeprefix("__cfi_"))
    return _SYSCALL.sub("sys_", name) or function


def is_reporting(function: str) -> bool:
    """Whether it only tells of a fault."""
    return _REPORTING.match(normalise(function)) is not None


def relevant(trace: Iterable[Frame], kind: Kind) -> list[Frame]:
    """The frames that lead to the fault, the nearest first: without those that report it, and those that every trace has."""
    return list(_until_entry(trace, kind))


def _until_entry(trace: Iterable[Frame], kind: Kind) -> Iterator[Frame]:
    last: str | None = None
    for frame in trace:
        name = normalise(frame.function)
        if last is not None and name in _NMI_ENTRY:
            return
        if _REPORTING.match(name) or name == last or (kind in _WAITERS and _WAITING.match(name)):
            continue
        if kind in (Kind.SOFT_LOCKUP, Kind.HARD_LOCKUP, Kind.RCU_STALL) and (frame.interrupt or _INTERRUPTED.match(name)):
            continue
        # The dump of a task that runs elsewhere begins where it was last switched (kernel/sched/core.c, dump_cpu_task()).
        if kind is Kind.RCU_STALL and name in _SWITCHING:
            continue
        if _ENTRY.match(name):
            return
        last = name
        yield frame


def make_signature(kind: Kind, function: str | None, frames: Sequence[str]) -> str:
    """KIND-function-8hex."""
    digest = hashlib.sha256("\n".join((kind, *frames)).encode("utf-8", "replace")).hexdigest()
    return f"{kind}-{function or 'unknown'}-{digest[:8]}"
