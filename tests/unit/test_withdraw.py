# SPDX-License-Identifier: LGPL-2.1-or-later
"""The way back to the machine before kdumpd."""

import hashlib
import re
import subprocess
from pathlib import Path

import pytest

from kdumpd.apply.actions import roll_back, withdraw
from kdumpd.apply.apply import apply_plan
from kdumpd.capture.keep import FOLDER_NAME
from kdumpd.cli.main import main
from kdumpd.crashkernel import parse_crashkernel
from kdumpd.daemon.job import keep_armed
from kdumpd.errors import ApplyError, ToolError
from kdumpd.host import layout
from kdumpd.plan.make import make_plan
from kdumpd.plan.withdraw import make_withdrawal
from kdumpd.policy.model import Loader, PanicPolicy, Policy
from tests.unit.fakes import POLICY, RELEASE, FakeMachine, Stubs, armed
from tests.unit.test_boot import SYSTEMD_BOOT, started_by

OTHER = Policy(crashkernel=parse_crashkernel("256M"), panic=PanicPolicy(reboot_after=7, early_pstore=True))
SETTINGS = "etc/default/kdump-tools"
PACKAGED = "# kdump-tools configuration\nUSE_KDUMP=1\n"


@pytest.fixture(autouse=True)
def as_an_installer_leaves_it(machine: FakeMachine) -> None:
    """With a grub.cfg of GRUB's own making."""
    (machine.root / "var/lib").mkdir()
    machine.write(
        "boot/grub/grub.cfg",
        "menuentry 'Debian GNU/Linux' {\n\tlinux\t/boot/vmlinuz root=UUID=1 ro  quiet\n}\n"
        "menuentry 'Debian GNU/Linux, (recovery mode)' {\n\tlinux\t/boot/vmlinuz root=UUID=1 ro single\n}\n",
    )


def apply(machine: FakeMachine, policy: Policy = POLICY, *, overwrite: bool = False) -> None:
    facts = machine.facts(policy)
    apply_plan(make_plan(policy, facts), facts, machine.root, lambda text: None, overwrite=overwrite)


def take_back(machine: FakeMachine, *, boot_loader: bool = True) -> list[str]:
    told: list[str] = []
    withdraw(machine.root, machine.root / "etc/kdumpd.yaml", told.append, boot_loader=boot_loader)
    return told


def tree(machine: FakeMachine) -> dict[str, tuple[int, bytes]]:
    """Every file and folder, but for kdumpd's own state, which its package removes."""
    found = {str(path.relative_to(machine.root)): path for path in machine.root.rglob("*")}
    return {
        name: (path.stat().st_mode, path.read_bytes() if path.is_file() else b"")
        for name, path in found.items()
        if not name.startswith(("var/lib/kdumpd", "run"))
    }


def ucf_knows(machine: FakeMachine, content: str) -> None:
    machine.write("var/lib/ucf/hashfile", f"{hashlib.md5(content.encode()).hexdigest()}  /{SETTINGS}\n")


def test_the_machine_is_as_it_was_before_the_first_apply(machine: FakeMachine) -> None:
    machine.write("sys/module/kernel/parameters/crash_kexec_post_notifiers", "N\n")
    before = tree(machine)
    apply(machine)
    apply(machine, OTHER)
    assert tree(machine) != before

    take_back(machine)

    assert tree(machine) == before


def test_every_step_is_told(machine: FakeMachine) -> None:
    armed(machine)
    told = take_back(machine)

    assert told[:2] == ["remove /etc/default/grub.d/kdumpd.cfg", "remove /etc/default/kdump-tools"]
    assert "run update-grub: /etc/default/grub.d/kdumpd.cfg goes" in told
    assert "unload the dump kernel" in told
    assert "set kernel.panic = 0 (now 30)" in told
    assert "remove the folder /etc/systemd/system/kdumpd-capture.service.d" in told


def test_nothing_is_left_to_take_back_afterwards(machine: FakeMachine) -> None:
    armed(machine)
    take_back(machine)

    assert make_withdrawal(machine.facts()).is_empty


def test_without_an_apply_there_is_nothing_to_take_back(machine: FakeMachine, stubs: Stubs) -> None:
    assert take_back(machine) == []
    assert stubs.calls == []


def test_the_dump_kernel_is_unloaded_and_no_start_of_kdumpd_loads_it_again(machine: FakeMachine, stubs: Stubs) -> None:
    armed(machine)
    take_back(machine)
    assert machine.read("sys/kernel/kexec_crash_loaded") == "0\n"

    assert main(["early"]) == 0
    assert [call for call in stubs.calls if call.startswith("kexec")][-1] == "kexec -s -p -u"


def test_what_somebody_else_has_loaded_stays(machine: FakeMachine) -> None:
    apply(machine)
    machine.reserve()
    machine.write("sys/kernel/kexec_crash_loaded", "1\n")

    assert not [step for step in take_back(machine) if "dump kernel" in step]


def test_images_and_crashes_stay(machine: FakeMachine) -> None:
    armed(machine)
    machine.write("var/crash/2026-11-22T03-04-05Z/dmesg.txt", "log")
    take_back(machine)

    assert machine.read("var/crash/2026-11-22T03-04-05Z/dmesg.txt") == "log"
    assert list((machine.root / layout.IMAGES).iterdir())
    assert machine.read("var/lib/kdumpd/made-folders") == "/var/crash\n"


def test_a_store_that_was_there_before_is_no_folder_of_kdumpd(machine: FakeMachine) -> None:
    (machine.root / "var/crash").mkdir()
    apply(machine)
    take_back(machine)

    assert (machine.root / "var/crash").is_dir()


def test_kdump_tools_gets_its_settings_back_when_it_was_there_first(machine: FakeMachine) -> None:
    machine.write(SETTINGS, PACKAGED)
    ucf_knows(machine, PACKAGED)
    (machine.root / SETTINGS).chmod(0o640)
    before = tree(machine)
    apply(machine)
    assert machine.read(SETTINGS) != PACKAGED
    take_back(machine)

    assert tree(machine) == before


def test_kdump_tools_that_came_later_gets_what_its_package_brought(machine: FakeMachine, stubs: Stubs) -> None:
    apply(machine)
    stubs.add("kdump-config")
    machine.write(f"{SETTINGS}.ucf-dist", PACKAGED)
    ucf_knows(machine, PACKAGED)
    take_back(machine)

    assert machine.read(SETTINGS) == PACKAGED


def test_kdump_tools_without_settings_is_told_how_to_get_some(
    machine: FakeMachine, stubs: Stubs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kdumpd.cli.withdraw.ROOT", machine.root)
    apply(machine)
    stubs.add("kdump-config")

    assert main(["withdraw", "--yes"]) == 0
    told = capsys.readouterr().out
    assert "note: kdump-tools has no /etc/default/kdump-tools now; to make one: dpkg-reconfigure kdump-tools\n" in told


def test_settings_that_a_package_has_put_there_again_are_what_it_gets_back(machine: FakeMachine) -> None:
    apply(machine)
    machine.write(SETTINGS, PACKAGED)
    ucf_knows(machine, PACKAGED)
    apply(machine)
    take_back(machine)

    assert machine.read(SETTINGS) == PACKAGED


def test_a_dump_kernel_that_kdump_tools_has_loaded_for_kdumpd_goes_too(machine: FakeMachine, stubs: Stubs) -> None:
    machine.reserve()
    machine.write("proc/stat", "btime 1000\n")
    stubs.add(
        "kdump-config",
        f". {machine.root}/{SETTINGS}; mkdir -p {machine.root}/var/crash\n"
        f'echo "/sbin/kexec -p --command-line=\\"$KDUMP_CMDLINE_APPEND\\"" > {machine.root}/var/crash/kexec_cmd\n'
        f"echo 1 > {machine.root}/sys/kernel/kexec_crash_loaded",
    )
    apply(machine, Policy(crashkernel=POLICY.crashkernel, loader=Loader.KDUMP_TOOLS))
    assert machine.read("sys/kernel/kexec_crash_loaded") == "1\n"

    assert "unload the dump kernel" in take_back(machine)


def test_a_file_that_kdumpd_was_refused_stays_its_owners(machine: FakeMachine) -> None:
    machine.write(SETTINGS, "USE_KDUMP=1  # mine\n")
    with pytest.raises(ApplyError):
        apply(machine)
    take_back(machine)

    assert machine.read(SETTINGS) == "USE_KDUMP=1  # mine\n"


def test_what_a_person_had_given_to_kdumpd_is_theirs_again_without_a_copy_beside_it(machine: FakeMachine) -> None:
    machine.write(SETTINGS, "USE_KDUMP=1  # mine\n")
    before = tree(machine)
    apply(machine, overwrite=True)
    take_back(machine)

    assert tree(machine) == before


def test_what_a_person_has_changed_since_is_kept_beside_it(machine: FakeMachine) -> None:
    apply(machine)
    machine.write("etc/sysctl.d/60-kdumpd.conf", "kernel.panic = 99\n")
    take_back(machine)

    assert not (machine.root / "etc/sysctl.d/60-kdumpd.conf").exists()
    (copy,) = (machine.root / "etc/sysctl.d").glob("60-kdumpd.conf.saved-*")
    assert copy.read_text() == "kernel.panic = 99\n"


def test_a_boot_loader_that_fails_leaves_everything_as_it_is(machine: FakeMachine, stubs: Stubs) -> None:
    armed(machine)
    before = tree(machine)
    stubs.add("update-grub", "exit 1")

    with pytest.raises(ApplyError, match="the boot loader could not be updated; every file was put back"):
        take_back(machine)
    assert tree(machine) == before
    assert machine.read("sys/kernel/kexec_crash_loaded") == "1\n"


def test_without_the_boot_loader_all_else_is_taken_back_and_the_rest_is_told(
    machine: FakeMachine, stubs: Stubs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kdumpd.cli.withdraw.ROOT", machine.root)
    armed(machine)
    stubs.add("update-grub", "exit 1")

    assert main(["withdraw", "--yes", "--keep-boot-loader"]) == 0
    assert capsys.readouterr().out.endswith(
        "note: crashkernel=192M stays on the kernel's command line until somebody runs: update-grub\n"
    )
    assert machine.read("sys/kernel/kexec_crash_loaded") == "0\n"
    assert not (machine.root / "etc/default/grub.d/kdumpd.cfg").exists()


def test_a_kernel_that_does_not_unload_says_so_after_all_else_is_done(machine: FakeMachine, stubs: Stubs) -> None:
    armed(machine)
    stubs.add("kexec", 'echo "kexec_unload: Operation not permitted" >&2; exit 1')

    with pytest.raises(ToolError, match="Operation not permitted"):
        take_back(machine)
    assert not (machine.root / "etc/default/grub.d/kdumpd.cfg").exists()


def test_a_rollback_brings_back_what_was_withdrawn(machine: FakeMachine) -> None:
    armed(machine)
    before = tree(machine)
    take_back(machine)
    roll_back(machine.root, machine.root / "etc/kdumpd.yaml", lambda text: None)

    kept = ("etc/", "boot/", "proc/")
    assert {name: found for name, found in tree(machine).items() if name.startswith(kept)} == {
        name: found for name, found in before.items() if name.startswith(kept)
    }


def test_after_a_withdrawal_the_policy_can_be_applied_again(machine: FakeMachine) -> None:
    policy_file = machine.root / "etc/kdumpd.yaml"
    policy_file.write_text("crashkernel: 192M\n")
    machine.reserve()
    keep_armed(machine.root, policy_file)
    take_back(machine)

    assert keep_armed(machine.root, policy_file) == "armed"
    take_back(machine)
    assert make_withdrawal(machine.facts()).is_empty


def test_etc_kernel_cmdline_stays_where_kdumpd_has_made_it_as_the_running_kernel_still_has_our_words(
    machine: FakeMachine, stubs: Stubs
) -> None:
    boot_by_systemd_boot(machine, stubs)
    apply(machine)
    assert "crashkernel=192M" in machine.read("etc/kernel/cmdline")
    told = take_back(machine)

    assert "crashkernel" not in machine.read("etc/kernel/cmdline")
    assert "crashkernel" not in machine.read(f"boot/loader/entries/{RELEASE}.conf")
    assert f"run kernel-install add {RELEASE} /boot/vmlinuz-{RELEASE}: /etc/kernel/cmdline changes" in told


def test_etc_kernel_cmdline_that_was_there_before_is_as_it_was(machine: FakeMachine, stubs: Stubs) -> None:
    boot_by_systemd_boot(machine, stubs)
    machine.write("etc/kernel/cmdline", "root=UUID=1   quiet\n")
    apply(machine)
    take_back(machine)

    assert machine.read("etc/kernel/cmdline") == "root=UUID=1   quiet\n"


def test_etc_kernel_cmdline_that_somebody_else_has_changed_too_loses_only_our_words(machine: FakeMachine, stubs: Stubs) -> None:
    boot_by_systemd_boot(machine, stubs)
    apply(machine)
    machine.write("etc/kernel/cmdline", "root=UUID=1 crashkernel=192M debug\n")
    take_back(machine)

    assert machine.read("etc/kernel/cmdline") == "root=UUID=1 debug\n"


def boot_by_systemd_boot(machine: FakeMachine, stubs: Stubs) -> None:
    entry = machine.root / f"boot/loader/entries/{RELEASE}.conf"
    started_by(machine, SYSTEMD_BOOT)
    machine.write(str(entry.relative_to(machine.root)), "linux /vmlinuz\noptions root=UUID=1\n")
    cmdline = machine.root / "etc/kernel/cmdline"
    stubs.add("kernel-install", f'[ ! -e {cmdline} ] || sed -i "s|^options.*|options $(cat {cmdline})|" {entry}')


def test_grubby_takes_our_words_out_of_every_entry(machine: FakeMachine, stubs: Stubs) -> None:
    entry = machine.root / "boot/loader/entries/a.conf"
    machine.write(str(entry.relative_to(machine.root)), "linux /vmlinuz\noptions root=UUID=1 quiet\n")
    words = "s/^options.*/& ${2#--args=}/"
    stubs.add("grubby", f'case "$2" in --args=*) sed -i "{words}" {entry};; *) sed -i "s/ ${{2#--remove-args=}}//" {entry};; esac')
    apply(machine)
    assert entry.read_text().endswith("quiet crashkernel=192M\n")
    take_back(machine)

    assert stubs.calls[-1] == "grubby --update-kernel=ALL --remove-args=crashkernel=192M"
    assert entry.read_text().endswith("root=UUID=1 quiet\n")


def test_the_command_asks_first_and_refuses_where_nobody_can_answer(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kdumpd.cli.withdraw.ROOT", machine.root)
    apply(machine)

    assert main(["withdraw"]) == 1
    assert capsys.readouterr().err == (
        "kdumpd: something would change, and there is no terminal to ask at\n"
        "hint: see it: run this at a terminal; do it: add --yes\n"
    )
    assert (machine.root / "etc/default/grub.d/kdumpd.cfg").exists()


def test_the_command_says_that_there_is_nothing_to_do(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kdumpd.cli.withdraw.ROOT", machine.root)

    assert main(["withdraw"]) == 0
    assert capsys.readouterr().out == "nothing to take back: kdumpd has changed nothing here\n"


def test_a_record_of_the_machine_before_that_is_damaged_is_as_good_as_none(machine: FakeMachine) -> None:
    apply(machine)
    machine.write("var/lib/kdumpd/original.json", "{")
    take_back(machine)

    assert not (machine.root / "etc/default/grub.d/kdumpd.cfg").exists()
    assert not Path(machine.root / "var/lib/kdumpd/original.json").exists()


def test_a_purge_knows_every_file_that_kdumpd_renders() -> None:
    postrm = (Path(__file__).parents[2] / "packaging/deb/postrm").read_text()
    (rendered,) = re.findall(r'^RENDERED="(.*?)"', postrm, re.DOTALL | re.MULTILINE)

    assert set(rendered.split()) == {layout.absolute(path) for path in layout.MANAGED if layout.STATE not in path.parents}
    assert f"STATE={layout.absolute(layout.STATE)}\n" in postrm
    assert f"$STATE/{layout.MADE_FOLDERS.name}" in postrm


def test_a_purge_removes_crashes_and_nothing_that_is_called_alike(tmp_path: Path) -> None:
    crashes = {"2026-11-22T03-04-05Z", "2026-11-22T03-04-05Z-12"}
    others = {
        "TZ",
        "T-Z",
        "-T-Z-",
        "2026T11Z",
        "2026-11-22T03-04-05Z-",
        "2026-11-22T03-04-05Z-a",
        "a2026-11-22T03-04-05Z",
        "2026-11-22T3-04-05Z",
    }
    for name in crashes | others:
        (tmp_path / "store" / name).mkdir(parents=True)
    postrm = (Path(__file__).parents[2] / "packaging/deb/postrm").read_text().replace("/var/crash", str(tmp_path / "store"))
    functions, _, _ = postrm.partition("# Not in a function:")
    (tmp_path / "script").write_text(functions.replace("/var/lib/kdumpd", str(tmp_path)) + "crashes -exec rm -rf '{}' +\n")
    subprocess.run(["sh", str(tmp_path / "script")], check=True)

    assert {path.name for path in (tmp_path / "store").iterdir()} == others
    assert not any(FOLDER_NAME.fullmatch(name) for name in others)
