#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Prints org.kdumpd1(5) for scdoc(1), made from the interface that the daemon serves and from the errors that it answers with."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP))

from kdumpd import errors  # noqa: E402

HEAD = """\
org.kdumpd1(5) "kdumpd" "File formats"

# NAME

org.kdumpd1 - the D-Bus interface of kdumpd

# DESCRIPTION

While kdumpd.service runs, it serves the object _/org/kdumpd1_ with the interface _org.kdumpd1_ under the name _org.kdumpd1_ on
the system bus. A call does not start the service: a machine whose administrator has not enabled it is not changed by somebody
who asks.

Everybody may read the properties and call what changes nothing. What changes something is allowed to root, and to others when
polkit says so.

## Jobs

A method that changes something returns the number of a job at once; the signal JobDone tells what came of it. There is one job
at a time, the others wait. The same job, asked for again while it is the last that waits, gets the same number. When four are
waiting, one more is refused.

## Freshness

A property that is read tells what is true now; nothing older than a second is given. PropertiesChanged is sent after every job,
and when a read has found that something is different. Nothing is looked at by the clock: what another program does to the dump
kernel is noticed at the next read.
"""
ERRORS = """\
# ERRORS

The text of an error ends with a line that begins with "hint:" when there is a way out.
"""
TAIL = """\
# EXAMPLES

```
busctl get-property org.kdumpd1 /org/kdumpd1 org.kdumpd1 State
busctl call org.kdumpd1 /org/kdumpd1 org.kdumpd1 Arm
busctl monitor org.kdumpd1
```

# SEE ALSO

*kdumpd*(8), *kdumpd.yaml*(5), *busctl*(1), *polkit*(8)
"""
SECTIONS = {"property": "PROPERTIES", "method": "METHODS", "signal": "SIGNALS"}


def page() -> str:
    """The whole page."""
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))  # noqa: S314 - our own file
    tree = ElementTree.parse(TOP / "kdumpd/daemon/org.kdumpd1.xml", parser)  # noqa: S314
    members = [member for interface in tree.iter("interface") for member in _members(interface)]
    parts = [HEAD]
    for tag, title in SECTIONS.items():
        parts.append(f"# {title}\n")
        parts += [_entry(_signature(member), text) for member, text in members if member.tag == tag]
    parts.append(ERRORS)
    parts += [_entry(name, text) for name, text in _errors()]
    return "\n".join([*parts, TAIL])


def _members(interface: ElementTree.Element) -> Iterator[tuple[ElementTree.Element, str]]:
    comment = ""
    for element in interface:
        if element.tag is ElementTree.Comment:
            comment = element.text or ""
        else:
            yield element, " ".join(comment.split())
            comment = ""


def _signature(member: ElementTree.Element) -> str:
    name = member.get("name")
    if member.tag == "property":
        return f"{name} ({member.get('type')})"
    arguments = [(arg.get("direction"), f"{arg.get('type')} {arg.get('name')}") for arg in member.findall("arg")]
    given = ", ".join(text for direction, text in arguments if direction != "out")
    returned = ", ".join(text for direction, text in arguments if direction == "out")
    return f"{name}({given})" + (f" → {returned}" if returned else "")


def _entry(term: str, text: str) -> str:
    return f"*{_plain(term)}*\n\t{_plain(text)}\n"


def _plain(text: str) -> str:
    """Nothing in it is taken for markup."""
    return re.sub(r"[*_\\]", r"\\\g<0>", text)


def _errors() -> Iterator[tuple[str, str]]:
    family = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.KdumpdError)]
    for error in sorted(family, key=lambda error: error.dbus_name):
        yield error.dbus_name, (error.__doc__ or "").partition("\n")[0]
    yield "org.kdumpd1.Error.Internal", "A defect of kdumpd. The journal has the details."


if __name__ == "__main__":
    print(page(), end="")
