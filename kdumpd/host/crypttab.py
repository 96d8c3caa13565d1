# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which encrypted volumes somebody has to open by hand, as far as crypttab(5) tells."""

from pathlib import Path

from kdumpd.files import exists, read_text

CRYPTTAB = Path("etc/crypttab")
NO_KEY = ("none", "-")
# Of the key and of the options, when a line ends before them.
DEFAULTS = ("none", "")
# What gives the key without a person.
UNATTENDED = ("keyscript=", "tpm2-device=")
# It opens volumes of which /etc/crypttab says nothing of the kind: by a server or a TPM.
CLEVIS = (Path("usr/share/initramfs-tools/hooks/clevis"), Path("usr/lib/dracut/modules.d/60clevis"))


def asks_a_person(root: Path, name: str) -> bool:
    """Whether the volume is opened by a passphrase. One that crypttab does not name, and of which nothing is known, is not."""
    if any(exists(root / path) for path in CLEVIS):
        return False
    lines = [line.split() for line in (read_text(root / CRYPTTAB) or "").splitlines()]
    fields = next((words for words in lines if words[:1] == [name]), None)
    if fields is None:
        return False
    key, options = [*fields[2:4], *DEFAULTS[max(0, len(fields) - 2) :]]
    return key in NO_KEY and not any(option.startswith(UNATTENDED) for option in options.split(","))
