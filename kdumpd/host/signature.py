# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether a kernel image carries a signature, as an EFI program does. Whether anybody trusts it, only the kernel knows."""

import struct
from pathlib import Path

# Microsoft's "PE Format": the offset of the PE header, then the COFF header (20 bytes), then the optional header, whose
# fifth data directory is the certificate table. The directories begin at 112 in a PE32+ and at 96 in a PE32.
HEAD_BYTES = 4096
DOS_MAGIC, PE_OFFSET_AT, PE_MAGIC = b"MZ", 0x3C, b"PE\0\0"
COFF_BYTES = 20
DIRECTORIES_AT = {0x20B: 112, 0x10B: 96}
CERTIFICATE_TABLE, DIRECTORY_BYTES = 4, 8


def read_is_signed(root: Path, path: str) -> bool | None:
    """The same of the image at an absolute path below `root`; None also when it is not there or not ours to read."""
    try:
        with (root / path.lstrip("/")).open("rb") as image:
            return is_signed(image.read(HEAD_BYTES))
    except OSError:
        return None


def is_signed(head: bytes) -> bool | None:
    """Told from the beginning of the image; None when it is no EFI program."""
    try:
        if not head.startswith(DOS_MAGIC):
            return None
        (pe,) = struct.unpack_from("<I", head, PE_OFFSET_AT)
        optional = pe + len(PE_MAGIC) + COFF_BYTES
        (magic,) = struct.unpack_from("<H", head, optional)
        if not head.startswith(PE_MAGIC, pe) or magic not in DIRECTORIES_AT:
            return None
        directories = optional + DIRECTORIES_AT[magic]
        (count,) = struct.unpack_from("<I", head, directories - 4)
        if count <= CERTIFICATE_TABLE:
            return False
        offset, size = struct.unpack_from("<II", head, directories + CERTIFICATE_TABLE * DIRECTORY_BYTES)
    except struct.error:
        return None
    return bool(offset and size)
