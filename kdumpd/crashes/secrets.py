# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a log may tell of the machine and its people: a table of rules, each with what is never a secret.

Every pattern takes time that grows with the text only: a repeated part has a bound, or its end is certain.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

Found: TypeAlias = "re.Match[str]"
# Where a value begins and ends, its sort, and what two spellings of it share.
Hit: TypeAlias = "tuple[int, int, Sort, str]"


class Sort(StrEnum):
    """What a value is; its tokens begin with this word, as in IP-1."""

    SECRET = "SECRET"  # noqa: S105 - the name of a sort, not a secret
    SERIAL = "SERIAL"
    MAC = "MAC"
    UUID = "UUID"
    EMAIL = "EMAIL"
    USER = "USER"
    HOST = "HOST"
    IP = "IP"


@dataclass(frozen=True)
class Rule:
    """A sort of values and where they stand: in the last group that took part, or in the whole of what was found.

    `key` gives what two spellings of one value share, or None for what tells nothing of the machine. `known`: what was found
    once is masked wherever it stands, even where nothing says what it is. Of a text without any of the `clues`, which a search
    for plain text finds ten times faster, the pattern is not asked.
    """

    sort: Sort
    pattern: "re.Pattern[str]"
    key: Callable[[str, Found], str | None]
    known: bool = False
    clues: tuple[str, ...] = ()

    def find(self, text: str) -> Iterator[Hit]:
        """All values of this sort in a text, from left to right."""
        if self.clues and not any(map(text.lower().__contains__, self.clues)):
            return
        for found in self.pattern.finditer(text):
            group = found.lastindex or 0
            if (key := self.key(found[group], found)) is not None:
                yield found.start(group), found.end(group), self.sort, key


# Names that thousands of machines have, and words that a log can't do without.
NO_HOST = frozenset(
    {"localhost", "localhost.localdomain", "(none)", "linux", "kernel", "debian", "ubuntu", "fedora", "rhel", "suse", "raspberrypi"}
    | {"www", "nfs", "mail", "server", "storage", "host", "node"}
)
# They stand before ":/" too, and are no servers.
_NO_SERVER = frozenset({"file", "path", "init", "root", "exe"})
NO_USER = NO_HOST | {"root", "nobody", "user", "users", "admin", "daemon", "guest", "system", "systemd", "space", "mode"}
# Where everybody writes to about the kernel, and what messages refer to.
PUBLIC_MAIL = frozenset(
    {"lists.debian.org", "lists.ubuntu.com", "lists.fedoraproject.org", "lists.linux.dev", "vger.kernel.org", "kvack.org"}
)
_PUBLIC_SITES = re.compile(
    r"(?:.*\.)?(?:kernel\.org|debian\.org|ubuntu\.com|launchpad\.net|fedoraproject\.org|redhat\.com|suse\.com|opensuse\.org"
    r"|freedesktop\.org|systemd\.io|github\.com|gitlab\.com|lwn\.net|lkml\.org|kvack\.org|nvidia\.com|mellanox\.com|intel\.com"
    r"|amd\.com|linux-usb\.org)",
    re.IGNORECASE,
)
# Instances of units, and nodes of a device tree by their address (mmc@fe340000), look like a mail address.
_UNIT = re.compile(r".*\.(?:service|socket|device|mount|automount|swap|target|path|timer|slice|scope)", re.IGNORECASE)
_UNIT_ADDRESS = re.compile(r"(?:\d[0-9a-f]*|[0-9a-f]{6,16})(?:,[0-9a-f]+)?", re.IGNORECASE)
# The "serial number" of a USB host controller is its PCI address (drivers/usb/core/hcd.c, rh_string()).
_PCI = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]", re.IGNORECASE)
_VERSION = re.compile(r"(?<![a-z])(?:version|ver|firmware|fw|nvm|bios)[.:=]{0,2}[ \t]{0,2}v?\Z", re.IGNORECASE)
_PACKAGE = re.compile(r"\.(?:el|fc|amzn)\d")
_LETTER = re.compile(r"[^\W\d_]")

_NO, _SP = r"(?<![a-z])", r"[ \t]{0,8}"
_STRONG = r"(?:pass(?:word|wd|phrase|code)|secret|token|credential|(?:api|access|private|secret|shared|ssh)[_.-]?key)"
_SECRET_NAME = rf"(?:{_STRONG}\d?s?(?:[_.-][\w.-]{{0,32}})?|{_NO}(?:pass|pwd|psk|key)\d?)"
_SERIAL_NAME = rf"(?:serial(?:[ _-]?(?:number|num|no|nr)\b\.?)?|{_NO}s/?n)"
_USER_NAME = rf"{_NO}(?:user(?:[_.-]?name)?|logname|login|acct|sudo_user)"
_HOST_NAME = r"(?:host[_-]?name|nodename|fqdn)"
# The name of a JSON key that says what its value is.
BY_NAME = tuple(
    (sort, re.compile(rf"{name}\Z", re.IGNORECASE | re.ASCII))
    for sort, name in (
        (Sort.SECRET, _SECRET_NAME),
        (Sort.SERIAL, _SERIAL_NAME),
        (Sort.USER, _USER_NAME),
        (Sort.HOST, _HOST_NAME),
    )
)
_QUOTED = r"""(?:"([^"\n]*)|'([^'\n]*)|([^\s"']\S*))"""
_WORD = r"[\w-]+(?:\.[\w-]+)*"
# What a name before an @ may have, and what a serial number.
_LOCAL = r"""[^\s@<>"'(),:;\\/\[\]{}=|]"""
_PLAIN = r"""[^\s"',;\\\])}>]"""
_HEX = r"[0-9a-f]"
_GROUP = rf"{_HEX}{{1,4}}"
# //SERVER/SHARE and SERVER:/PATH.
_SHARE = r"(?<![:/\w])//([a-z0-9][\w.-]*)(?=/)|(?<![\w.:/-])([a-z][\w-]+(?:\.[\w-]+)*):/(?!/)"
_IN_USE = rf"[23f]{_HEX}{{3}}:"
_DASH = r"(?:-|\\x2d)?"


def _as_written(value: str, _: Found) -> str | None:
    return value.lower() or None


def _secret(value: str, _: Found) -> str | None:
    return value or None


def _serial(value: str, _: Found) -> str | None:
    return None if _PCI.fullmatch(value) else value.lower()


def _mac(value: str, _: Found) -> str | None:
    return re.sub("[:.-]", "", value).lower()


def _uuid(value: str, _: Found) -> str | None:
    return value.replace("\\x2d", "").replace("-", "").lower()


def _email(value: str, _: Found) -> str | None:
    name, _at, host = value.rpartition("@")
    if name.isdigit() or host.lower() in PUBLIC_MAIL or _UNIT.fullmatch(host) or _UNIT_ADDRESS.fullmatch(host):
        return None
    return value.lower()


def _user(value: str, _: Found) -> str | None:
    return None if value.lower() in NO_USER or value.isdigit() or value.startswith("0x") else value.lower()


def host_key(value: str) -> str | None:
    """The name of a host as two spellings share it; None for one that tells nothing, and for an address."""
    name = value.strip("._-").lower()
    return None if not name or name in NO_HOST or set(name) <= set("0123456789.") else name


def _host(value: str, _: Found) -> str | None:
    return host_key(value)


def _server(value: str, _: Found) -> str | None:
    return None if value.lower() in _NO_SERVER else host_key(value)


def _named_server(value: str, found: Found) -> str | None:
    """Of a word before ":/", only what is no word of a language is looked for elsewhere."""
    return None if value.isalpha() else _server(value, found)


def _site(value: str, _: Found) -> str | None:
    return None if _PUBLIC_SITES.fullmatch(value) else host_key(value)


def _ipv4(value: str, found: Found) -> str | None:
    text, start = found.string, found.start()
    if _VERSION.search(text, max(0, start - 16), start) or _PACKAGE.match(text, found.end()):
        return None
    return _address(".".join(value.replace("-", ".").split(".")[:4]))


def _ipv6(value: str, found: Found) -> str | None:
    if _LETTER.match(found.string, found.end()) and not re.match(_IN_USE, value, re.IGNORECASE):
        return None
    return None if value.lower() == "::ffff" else _address(value)


def _address(value: str) -> str | None:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        # Eight groups and a "::" are no address, but they are no word either. A leading zero is a version's.
        return value.lower() if ":" in value else None
    return None if address.is_loopback or address.is_unspecified or value.startswith("255.") else str(address)


def _rule(sort: Sort, pattern: str, key: Callable[[str, Found], str | None], *, known: bool = False, clues: str = "") -> Rule:
    return Rule(sort, re.compile(pattern, re.IGNORECASE | re.ASCII | re.MULTILINE), key, known, tuple(clues.split()))


# In this order: what has words around it before what is known by its shape, and the longer shape before the shorter one.
RULES = (
    _rule(
        Sort.SECRET,
        rf"{_SECRET_NAME}[\"']?{_SP}={_SP}{_QUOTED}"
        rf"|{_STRONG}s?\\?[\"']?{_SP}:{_SP}{_QUOTED}"
        rf"|(?<![\w-])--?{_STRONG}[ \t]{{1,8}}{_QUOTED}"
        r"|authorization:[ \t]{0,8}\w{1,16}[ \t]{1,8}(\S+)|\bbearer[ \t]{1,8}([\w.+/=-]{8,})",
        _secret,
        known=True,
        clues="pass secret token credential key pwd psk auth bearer",
    ),
    # The host of an address before the user in it, which is known by the @ that follows.
    _rule(Sort.HOST, r"://(?:[^\s/@]{0,256}@)?([a-z0-9][\w.-]*)", _site, clues="://"),
    _rule(Sort.SECRET, r"://([^\s/:@]{0,256}:[^\s/@]{1,256})(?=@)", _secret, clues="://"),
    _rule(Sort.USER, r"://([^\s/:@]{1,256})(?=@)", _user, known=True, clues="://"),
    _rule(
        Sort.SERIAL,
        r"usb [\w.:-]{1,32}: SerialNumber: (\S.*)"
        r"|(VMware-(?:[0-9a-f]{2}[ -]){15}[0-9a-f]{2})"
        rf"|serial(?:[ _-]?(?:number|num|no|nr)\b\.?)?[\"']?{_SP}={_SP}[\"']?({_PLAIN}{{4,}})"
        rf"|serial[ _-]?(?:number|num|no|nr)\b\.?[\"']?{_SP}(?:[:#]{_SP}[\"']?|(?<=[ \t])(?=\S{{0,64}}\d))({_PLAIN}{{2,}})"
        # Not "Serial: 8250/16550 driver, 4 ports", nor "serial: console".
        rf"|\bserial[\"']?{_SP}[:#]{_SP}[\"']?(?!.{{0,80}}\bdriver\b)(?-i:(?=\S{{0,64}}[0-9A-Z]))({_PLAIN}{{2,}})"
        rf"|(?<![a-z])(?:S/N{_SP}[:=#]?|SN[:=#]){_SP}({_PLAIN}{{4,}})"
        r"|\b(?:wwn-|naa\.|eui\.|(?:wwid|wwnn|wwpn|sas_addr(?:ess)?|logical id|port_name|node_name)\W{1,3})((?:0x)?[0-9a-f]{16,})"
        r"|\bby-id/([^\s\"']+)",
        _serial,
        known=True,
        clues="serial sn s/n vmware- wwn naa. eui. ww sas_addr logical _name by-id",
    ),
    _rule(
        Sort.MAC,
        r"(?:[0-9a-f]{2}[:-]){5,}[0-9a-f]{2}"
        rf"|(?<!{_HEX})(?<!{_HEX}\.)(?:{_HEX}{{4}}\.{_HEX}{{4}}\.{_HEX}{{4}}|{_HEX}{{2}}(?:\.{_HEX}{{2}}){{5}})(?!\.?{_HEX})"
        rf"|(?:\b(?:enx|wlx|wwx)|\bmac(?:addr)?[=:]{_SP})({_HEX}{{12}})(?!{_HEX})",
        _mac,
        known=True,
    ),
    _rule(
        Sort.UUID,
        rf"(?<!{_HEX}){_HEX}{{8}}{_DASH}{_HEX}{{4}}{_DASH}{_HEX}{{4}}{_DASH}{_HEX}{{4}}{_DASH}{_HEX}{{12}}(?!{_HEX})"
        r"|(?<![a-z0-9])[a-z0-9]{6}-(?:[a-z0-9]{4}-){5}[a-z0-9]{6}(?![a-z0-9])"
        r"|(?:UUID=|by-(?:part)?uuid/)([\w-]+)",
        _uuid,
    ),
    _rule(
        Sort.EMAIL,
        rf"(?<!{_LOCAL})(?<![^/]/){_LOCAL}+@(?:\[[\w:.%]{{2,64}}\]|(?:{_GROUP}:|:){{2,7}}{_HEX}{{0,4}}|(?u:{_WORD}))",
        _email,
        clues="@",
    ),
    _rule(
        Sort.USER,
        rf"{_USER_NAME}[\"']?{_SP}={_SP}[\"']?([\w.+\\-]+)"
        rf"|(?:/home/|/Users/|\\Users\\|/var/(?:spool/)?mail/|/crontabs/)([\w.+-]+)"
        rf"|\buid=\d{{1,10}}\(({_WORD})\)"
        rf"|\b(?:Accepted|Failed) \S{{1,40}} for (?:invalid user )?({_WORD})"
        rf"|\bsession \S{{1,20}} (?:of|for) user ({_WORD})|\binvalid user ({_WORD}) from "
        rf"|\bsudo(?:\[\d{{1,10}}\])?:[ \t]{{1,16}}({_WORD}) : ",
        _user,
        known=True,
        clues="user log acct /home /mail /cron uid accepted failed invalid sudo",
    ),
    _rule(
        Sort.HOST,
        # systemd, src/core/main.c and src/shared/hostname-setup.c.
        r"hostname (?:set )?to <([^>\n]{1,253})>"
        # Documentation/admin-guide/nfs/nfsroot.rst: ip=CLIENT:SERVER:GATEWAY:NETMASK:HOST:…
        r"|\bip=(?:(?:\[[^\]\s]{0,64}\]|[^\s:=]{0,64}):){4}([\w.-]+)"
        rf"|{_HOST_NAME}[\"']?{_SP}[:=]{_SP}[\"']?([\w.-]+)"
        r"|\b(?:nfs|lockd): server ([\w.-]+)"
        # What a syslog daemon puts before each line.
        r"|^(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[\d.:+Z-]{0,16}) ([\w.-]+)"
        r" (?:kernel|systemd|sshd|sudo|cron)(?:\[\d{1,10}\])?:"
        # \\SERVER\SHARE, and as many backslashes again where the text was quoted.
        r"|(?<![\\:])\\{2,4}(?=[a-z0-9])([\w.-]+)"
        # A serial console.
        r"|^([\w.-]+) login:",
        _host,
        known=True,
        clues="host ip= node fqdn server kernel: systemd sshd sudo cron \\ login:",
    ),
    _rule(Sort.HOST, _SHARE, _named_server, known=True, clues="/"),
    _rule(
        Sort.HOST,
        r"(?:iqn|nqn)\.\d{4}-\d\d\.([^\s\"',;<>()\[\]]+)"
        rf"|{_SHARE}"
        r"|(?<![a-z])(?:server|domain|workgroup)=([a-z][\w.-]+)",
        _server,
        clues="iqn nqn / server domain workgroup",
    ),
    _rule(
        Sort.IP,
        r"(?<!\d)(?<!\d\.)(?:(?<=ip-)\d{1,3}(?:-\d{1,3}){3}|\d{1,3}(?:\.\d{1,3}){3}(?:\.\d{1,3}\.\d{1,3})?)(?!\d|\.\d)",
        _ipv4,
    ),
    _rule(
        Sort.IP,
        # Within a word only what begins as the addresses in use do: `core::fmt` and `input3::capslock` are none.
        rf"(?:(?<![a-z0-9])|(?={_IN_USE}))(?:(?:{_GROUP}:){{7}}{_GROUP}|(?:{_GROUP}:){{1,7}}:(?:{_GROUP}:){{0,6}}(?:{_GROUP})?)"
        rf"|(?<![a-z0-9])::(?:{_GROUP}:){{0,6}}{_GROUP}",
        _ipv6,
    ),
)  # fmt: skip
