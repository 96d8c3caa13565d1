# SPDX-License-Identifier: LGPL-2.1-or-later
"""YAML nodes with positions, and the collector of everything that is wrong.

`yaml.safe_load` is not used: it keeps the last of two equal keys without a word, turns `no` into False and `12:34`
into 754, and forgets where each value stood.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import yaml

from kdumpd.errors import PolicyError, Problem

NULL = "tag:yaml.org,2002:null"
# A policy has four levels.
MAX_DEPTH = 32
TOO_DEEP = "not valid YAML: nested too deeply"
_OPENING = (yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken, yaml.BlockSequenceStartToken, yaml.BlockMappingStartToken)
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)


class DecodeError(Exception):
    """A value is wrong. Raised by a decoder, put on record at the value's place by whatever holds the value."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, kw_only=True)
class PolicyText:
    """One file of a policy: its path, as messages show it, and its bytes."""

    source: str
    content: bytes


class Document:
    """The texts of a policy, in the order in which a later one overrides an earlier one, and all of their problems."""

    def __init__(self, texts: Sequence[PolicyText]) -> None:
        self.problems: list[Problem] = []
        # The dotted keys whose values are wrong, and whether all of a text is.
        self._wrong: set[str] = set()
        self._unread = False
        self._lines: dict[str, list[str]] = {}
        roots = [root for text in texts if (root := self._compose(text)) is not None]
        self.root = functools.reduce(_merge, roots) if roots else None

    def _compose(self, text: PolicyText) -> yaml.MappingNode | None:
        """The mapping that a text is, or None when it is empty or wrong."""
        known = len(self.problems)
        decoded = self._decode(text)
        node = None if decoded is None else self._load(decoded, text.source)
        self._unread |= len(self.problems) > known
        if node is None or is_null(node):
            return None
        if not isinstance(node, yaml.MappingNode):
            self._unread = True
            self.record_at(node, f"the policy: expected keys and values, found {described(node)}")
            return None
        self._record_duplicates(node, "")
        return node

    def _decode(self, text: PolicyText) -> str | None:
        try:
            decoded = text.content.decode()
        except UnicodeDecodeError as problem:
            before = text.content[: problem.start]
            line, column = before.count(b"\n") + 1, len(before) - (before.rfind(b"\n") + 1) + 1
            fact = f"byte 0x{text.content[problem.start]:02x} is not UTF-8"
            self.record(text.source, line, column, fact, "save the file as UTF-8")
            return None
        self._lines[text.source] = decoded.splitlines()
        return decoded

    def _load(self, text: str, source: str) -> yaml.Node | None:
        try:
            if not self._is_plain(text, source):
                return None
            loader = yaml.SafeLoader(text)
            # Marks carry this name, so that each node knows its file even after texts were merged.
            loader.name = source
            node: yaml.Node | None = loader.get_single_node()
            return node
        except yaml.MarkedYAMLError as problem:
            self._record_yaml(problem, text, source)
        except yaml.reader.ReaderError as problem:
            lines = f"{text[: problem.position]}x".splitlines()
            self.record(
                source, len(lines), len(lines[-1]), f"not valid YAML: the character U+{problem.character:04X} is not allowed"
            )
        return None

    def _is_plain(self, text: str, source: str) -> bool:
        """Whether it has no anchors and is not nested too deeply: what reads it calls itself once for each level, or more often."""
        open_marks: list[yaml.Mark] = []
        for token in yaml.scan(text):
            mark = token.start_mark
            if isinstance(token, yaml.AnchorToken | yaml.AliasToken):
                self.record(source, mark.line + 1, mark.column + 1, "anchors and aliases are not used here", "write the value out")
                return False
            if isinstance(token, _OPENING):
                open_marks.append(mark)
            elif isinstance(token, _CLOSING) and open_marks:
                open_marks.pop()
            if len(open_marks) > MAX_DEPTH:
                first = open_marks[0]
                self.record(source, first.line + 1, first.column + 1, f"{TOO_DEEP}: more than {MAX_DEPTH} levels begin here")
                return False
        return True

    def _record_yaml(self, problem: yaml.MarkedYAMLError, text: str, source: str) -> None:
        mark, fact, hint = problem.problem_mark or problem.context_mark, problem.problem or problem.context, None
        if problem.context == "while scanning a quoted scalar" and "unexpected" in str(fact):
            # The end of the file says nothing of where the quote was forgotten.
            mark = problem.context_mark
            fact, hint = "the quote that begins here has no end", f"end it with another {text[mark.index]}"
        elif "'\\t'" in str(fact):
            hint = "indent with spaces, not with tabs"
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        self.record(source, line, column, f"not valid YAML: {fact}", hint)

    def _record_duplicates(self, node: yaml.MappingNode, name: str) -> None:
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = key_text(key_node)
            path = f"{name}{key}"
            if key in lines:
                self.record_wrong(path, key_node, f'the key "{path}" is here twice', f"the first one is in line {lines[key]}")
            lines.setdefault(key, key_node.start_mark.line + 1)
            if isinstance(value_node, yaml.MappingNode):
                self._record_duplicates(value_node, f"{path}.")

    def record_at(self, node: yaml.Node, message: str, hint: str | None = None) -> None:
        """Puts a problem on record, at a node."""
        mark = node.start_mark
        self.record(mark.name, mark.line + 1, mark.column + 1, message, hint)

    def record(self, source: str, line: int, column: int, message: str, hint: str | None = None) -> None:
        """Puts a problem on record; lines and columns count from 1."""
        lines = self._lines.get(source, [])
        text = lines[line - 1] if line <= len(lines) else None
        self.problems.append(Problem(source=source, line=line, column=column, message=message, hint=hint, text=text))

    def origins(self) -> dict[str, str]:
        """Dotted key -> `file:line` of every value that counts; a key that is not here has its default."""
        return {name: f"{key.start_mark.name}:{key.start_mark.line + 1}" for name, key, _ in self._values()}

    def record_contradiction(self, names: Sequence[str], fact: str, hint: str) -> None:
        """Puts on record what these dotted keys together can't mean, at the first of them that is here; but not where the value
        of one of them is not known, for then the default that stands in for it would be blamed.
        """
        if self._unread or any(is_part(name, wrong) for name in names for wrong in self._wrong):
            return
        written = {name: value for name, _, value in self._values()}
        name = next(name for name in names if name in written)
        self.record_at(written[name], f"{name}: {fact}", hint)

    def record_wrong(self, name: str, node: yaml.Node, message: str, hint: str | None = None) -> None:
        """Puts on record that the value of a dotted key is wrong."""
        self._wrong.add(name)
        self.record_at(node, message, hint)

    def _values(self) -> "Iterator[tuple[str, yaml.Node, yaml.Node]]":
        return _values(self.root, "") if self.root is not None else iter(())

    def raise_problems(self) -> None:
        """
        Raises:
            PolicyError: there are any.
        """
        if self.problems:
            raise PolicyError(self.problems)


def _merge(earlier: yaml.MappingNode, later: yaml.MappingNode) -> yaml.MappingNode:
    """Key by key, the later one wins; a list is one value."""
    merged = {key_text(key): (key, value) for key, value in earlier.value}
    for key, value in later.value:
        _, before = merged.get(key_text(key), (None, None))
        if isinstance(before, yaml.MappingNode) and isinstance(value, yaml.MappingNode):
            merged[key_text(key)] = (key, _merge(before, value))
        elif before is None or not is_null(value):
            merged[key_text(key)] = (key, value)
    return yaml.MappingNode(later.tag, list(merged.values()), later.start_mark, later.end_mark)


def _values(node: yaml.MappingNode, name: str) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    """Dotted name, key and value of every single value and list."""
    for key, value in node.value:
        if isinstance(value, yaml.MappingNode):
            yield from _values(value, f"{name}{key_text(key)}.")
        elif not is_null(value):
            yield f"{name}{key_text(key)}", key, value


def is_part(name: str, whole: str) -> bool:
    """Whether a dotted key is another one, or is in its section; the empty one has all."""
    return name == whole or not whole or name.startswith(f"{whole}.")


def key_text(node: yaml.Node) -> str:
    """The text of a key; YAML also allows lists and mappings there, which are never one of ours."""
    return str(node.value) if isinstance(node, yaml.ScalarNode) else "…"


def is_null(node: yaml.Node) -> bool:
    """Whether nothing was written, as in `panic:` with an empty rest: the defaults hold."""
    return isinstance(node, yaml.ScalarNode) and node.tag == NULL and node.style is None


def described(node: yaml.Node) -> str:
    """What a node is, for a message."""
    if isinstance(node, yaml.ScalarNode):
        return f'"{node.value}"'
    return "a list" if isinstance(node, yaml.SequenceNode) else "keys and values"


@dataclass(frozen=True)
class Value:
    """A node, the document it is from, and its dotted name."""

    document: Document
    node: yaml.Node
    name: str

    @property
    def key(self) -> str:
        """The last part of its name."""
        return self.name.rpartition(".")[2]

    def text(self) -> str:
        """A single value, as it was written.

        Raises:
            DecodeError: it is a list or a mapping.
        """
        if not isinstance(self.node, yaml.ScalarNode):
            raise DecodeError(f"{self.name}: expected a single value, found {self.described()}")
        return str(self.node.value)

    def is_single(self) -> bool:
        """Whether it is neither a list nor a mapping."""
        return isinstance(self.node, yaml.ScalarNode)

    def described(self) -> str:
        return described(self.node)

    def record(self, problem: DecodeError) -> None:
        self.document.record_wrong(self.name, self.node, str(problem), problem.hint)
