# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a kernel image says of the memory that it needs to start: the setup header of an x86 bzImage."""

import os
import struct
from dataclasses import dataclass
from pathlib import Path

# Documentation/arch/x86/boot.rst. The header ends below 0x290; the text that it points to is in the real-mode part of the
# image, which has at most 64 sectors.
HEAD_BYTES = 64 * 512
MAGIC, MAGIC_AT = b"HdrS", 0x202
# The real-mode part in sectors, without the first (0 stands for 4), and the rest in paragraphs of 16 bytes.
SETUP_SECTS_AT, SYSSIZE_AT = 0x1F1, 0x1F4
VERSION_AT = 0x206
KERNEL_VERSION_AT, KERNEL_VERSION_FROM = 0x20E, 0x200
INIT_SIZE_AT, INIT_SIZE_SINCE = 0x260, 0x020A
# For an image that does not say it: an arm64 Image (not compressed, so this is plenty) or an EFI zboot image (zstd or gzip,
# which unpack to 3 to 4 times). Debian's kdump_mem_estimator takes the same 4 off x86. Debian's own bzImages, which do say
# it, are at 3.8 (LZ4, 6.1 cloud) and 8.1 (XZ, 6.1): a multiple is no match for the header.
ROOM_PER_FILE_BYTE = 4


@dataclass(frozen=True, kw_only=True)
class KernelImage:
    """A kernel image as it lies on the disk. `init_size` is its own word on the memory that it starts in; None: it has none.

    `release` is what `uname -r` would say; None: it does not tell. `whole` is how large the file must be at least: kexec loads one
    that is cut off, too, and it dies only when it starts.
    """

    file_size: int
    init_size: int | None
    release: str | None = None
    whole: int = 0

    @property
    def room(self) -> int:
        """The bytes to unpack itself and begin to run: text, data, bss and the packed image together, before any is freed."""
        return self.init_size or ROOM_PER_FILE_BYTE * self.file_size


def read_kernel_image(root: Path, path: str) -> KernelImage | None:
    """The kernel image at an absolute path below `root`, or None when it is not there or not ours to read."""
    try:
        with (root / path.lstrip("/")).open("rb") as image:
            return parse_kernel_image(image.read(HEAD_BYTES), file_size=os.fstat(image.fileno()).st_size)
    except OSError:
        return None


def parse_kernel_image(head: bytes, *, file_size: int) -> KernelImage:
    """The same from the beginning of the file."""
    if len(head) < INIT_SIZE_AT + 4 or not head.startswith(MAGIC, MAGIC_AT):
        return KernelImage(file_size=file_size, init_size=None)
    return KernelImage(file_size=file_size, init_size=_init_size(head), release=_release(head), whole=_whole(head))


def _whole(head: bytes) -> int:
    (paragraphs,) = struct.unpack_from("<I", head, SYSSIZE_AT)
    return ((head[SETUP_SECTS_AT] or 4) + 1) * 512 + 16 * int(paragraphs)


def _init_size(head: bytes) -> int | None:
    (version,) = struct.unpack_from("<H", head, VERSION_AT)
    if version < INIT_SIZE_SINCE:
        return None
    (init_size,) = struct.unpack_from("<I", head, INIT_SIZE_AT)
    return int(init_size) or None


def _release(head: bytes) -> str | None:
    """The first word of a text like "6.1.0-56-cloud-amd64 (debian-kernel@…) #1 SMP …"."""
    (pointer,) = struct.unpack_from("<H", head, KERNEL_VERSION_AT)
    words = head[KERNEL_VERSION_FROM + pointer :].partition(b"\0")[0].decode(errors="replace").split() if pointer else []
    return words[0] if words else None
