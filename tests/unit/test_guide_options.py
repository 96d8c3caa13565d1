# SPDX-License-Identifier: LGPL-2.1-or-later
"""docs/coming-from.md: every option of the other tools has its line, and what it says of this one exists."""

import re
from collections.abc import Iterator

import pytest

from kdumpd.policy.decode import decode_policy
from kdumpd.policy.keys import POLICY
from kdumpd.policy.kinds import Section
from kdumpd.policy.nodes import PolicyText
from tests.guides import DOCS

PAGE = (DOCS / "coming-from.md").read_text()
ROWS = re.findall(r"^\| (.+?) \| (.+) \|$", PAGE, re.MULTILINE)
CODE = re.compile(r"`([^`]+)`")
# Of Debian's /etc/default/kdump-tools (1.8.1); of /etc/kdump.conf and /etc/sysconfig/kdump of kdump-utils (1.0.61); of SUSE's
# /etc/sysconfig/kdump (2.1.9).
THEIRS = re.findall(
    r"\w+",
    """
    USE_KDUMP KDUMP_KERNEL KDUMP_INITRD KDUMP_COREDIR KDUMP_FAIL_CMD KDUMP_DUMP_DMESG KDUMP_NUM_DUMPS KDUMP_COMPRESSION
    MAKEDUMP_ARGS KDUMP_KEXEC_ARGS KDUMP_CMDLINE KDUMP_CMDLINE_APPEND HOSTTAG NFS NFS_TIMEO NFS_RETRANS FTP FTP_USER
    FTP_PASSWORD FTP_PORT SSH SSH_KEY auto_reset_crashkernel raw nfs ssh sshkey ext2 ext3 ext4 xfs btrfs minix virtiofs path
    core_collector kdump_post kdump_pre extra_bins extra_modules failure_action default final_action force_rebuild
    force_no_rebuild dracut_args fence_kdump_args fence_kdump_nodes KDUMP_KERNELVER KDUMP_COMMANDLINE
    KDUMP_COMMANDLINE_REMOVE KDUMP_COMMANDLINE_APPEND FADUMP_COMMANDLINE_APPEND KEXEC_ARGS KDUMP_BOOTDIR KDUMP_IMG
    KDUMP_IMG_EXT VMCORE_CREATION_NOTIFICATION KDUMP_STDLOGLVL KDUMP_SYSLOGLVL KDUMP_KMSGLOGLVL KDUMP_AUTO_RESIZE
    KDUMP_CONTINUE_ON_ERROR KDUMP_CPUS KDUMP_CRASHKERNEL KDUMP_DUMPFORMAT KDUMP_DUMPLEVEL KDUMP_FADUMP KDUMP_FADUMP_SHELL
    KDUMP_FREE_DISK_SIZE KDUMP_HOST_KEY KDUMP_IMMEDIATE_REBOOT KDUMP_KEEP_OLD_DUMPS KDUMP_NETCONFIG KDUMP_NET_TIMEOUT
    KDUMP_NOTIFICATION_CC KDUMP_NOTIFICATION_TO KDUMP_POSTSCRIPT KDUMP_PRESCRIPT KDUMP_REQUIRED_PROGRAMS KDUMP_SAVEDIR
    KDUMP_SMTP_PASSWORD KDUMP_SMTP_SERVER KDUMP_SMTP_USER KDUMP_SSH_IDENTITY KDUMP_TRANSFER KDUMP_UPDATE_BOOTLOADER
    KDUMP_VERBOSE KEXEC_OPTIONS MAKEDUMPFILE_OPTIONS
""",
)


def key_names(section: Section, before: str = "") -> Iterator[str]:
    for name, key in section.keys.items():
        yield before + name
        if isinstance(key, Section):
            yield from key_names(key, f"{before}{name}.")


# Names of files that look like keys.
FILES = {"capture.log"}
KEYS = frozenset(key_names(POLICY))
# What a page calls a key of ours: a word with a dot whose first part is one, or one with a value.
OURS = sorted({word for _, here in ROWS for word in CODE.findall(here) if re.match(rf"({'|'.join(POLICY.keys)})\b", word)} - FILES)


def nested(path: str, value: str) -> str:
    """A policy with one key."""
    first, _, rest = path.partition(".")
    return f"{first}: {{{nested(rest, value)}}}" if rest else f"{first}: {value}"


@pytest.mark.parametrize("option", THEIRS)
def test_every_option_of_the_others_has_its_line(option: str) -> None:
    assert any(option in CODE.findall(theirs) for theirs, _ in ROWS)


@pytest.mark.parametrize("named", OURS)
def test_every_key_that_is_named_exists_and_takes_the_value_that_is_named(named: str) -> None:
    key, _, value = named.partition(": ")

    assert key in KEYS
    if value:
        decode_policy([PolicyText(source="page.yaml", content=nested(key, value).encode())])


def test_keys_are_found_in_the_page() -> None:
    assert {"capture.stores", "capture.then: reboot", "crashkernel: auto"} <= set(OURS)
    assert "capture.vmcore.level" in KEYS
