# SPDX-License-Identifier: LGPL-2.1-or-later
"""kdumpd.yaml(5), against the policy that kdumpd reads."""

import re
from collections.abc import Iterator

import pytest

from kdumpd.errors import PolicyError
from kdumpd.policy.decode import decode_policy
from kdumpd.policy.keys import POLICY
from kdumpd.policy.kinds import Key, Section
from kdumpd.policy.model import Policy
from kdumpd.policy.nodes import Document, PolicyText
from tests.unit import pages

SOURCE = "/etc/kdumpd.yaml"
PAGE = pages.read_page("kdumpd.yaml.5")
KEYS = {one.heading: one for one in PAGE if one.chapter == "KEYS" and one.heading != "KEYS"}
BLOCKS = [block for one in PAGE for block in one.literal_blocks]


def keys(section: Section, path: str = "") -> Iterator[tuple[str, Key | Section]]:
    """Dotted name of every key, in the order of the table."""
    for name, key in section.keys.items():
        yield f"{path}{name}", key
        if isinstance(key, Section):
            yield from keys(key, f"{path}{name}.")


ALL = dict(keys(POLICY))
# One that is neither a value nor can be off is just the sum of its keys.
EXPLAINED = [name for name, key in ALL.items() if isinstance(key, Key) or key.off]
VALUES = {name: key for name, key in ALL.items() if isinstance(key, Key)}


def decode(text: str) -> Policy:
    return decode_policy([PolicyText(source=SOURCE, content=text.encode())])


def said_of(text: str) -> str:
    """What is wrong with a policy; nothing where it is right."""
    try:
        decode(text)
    except PolicyError as problem:
        return f"{problem}\n"
    return ""


def is_message(block: str) -> bool:
    return block.startswith(f"{SOURCE}:")


def quoted_line(message: str) -> str:
    """kdumpd quotes the line that is wrong, four blanks from the edge; the policies of this page have just one."""
    return message.splitlines()[1].removeprefix("    ")


def in_a_policy(name: str, value: str) -> str:
    """A policy that gives this key a value and says nothing else."""
    *outer, last = name.split(".")
    return "".join(f"{part}: {{" for part in outer) + f"{last}: {value}" + "}" * len(outer)


def schema_values(schema: object, word: str) -> Iterator[object]:
    """All values of a keyword, at any depth of a JSON Schema."""
    if isinstance(schema, dict):
        for name, value in schema.items():
            yield from [value] if name == word else schema_values(value, word)
    elif isinstance(schema, list):
        for item in schema:
            yield from schema_values(item, word)


def test_the_page_has_every_key_in_the_order_of_the_table_and_no_other() -> None:
    assert list(KEYS) == list(ALL)


@pytest.mark.parametrize("name", ALL)
def test_a_key_begins_with_what_it_is(name: str) -> None:
    assert re.match(r"[A-Z].{8,}[.:]( |$)", KEYS[name].paragraphs[0])


@pytest.mark.parametrize("name", EXPLAINED)
def test_the_default_of_a_key_is_the_real_one(name: str) -> None:
    section = name.rpartition(".")[0]

    assert decode(in_a_policy(name, KEYS[name].label("Default"))) == decode(in_a_policy(section, "{}") if section else "")


@pytest.mark.parametrize("name", VALUES)
def test_the_range_of_a_key_has_every_word_and_the_limits(name: str) -> None:
    # The words of some are a list below it.
    text = " ".join([KEYS[name].label("Range"), *KEYS[name].terms])
    schema = VALUES[name].kind.schema
    words = {word for enum in schema_values(schema, "enum") for word in enum}  # type: ignore[attr-defined]
    words |= {str(number) for limit in ("minimum", "maximum") for number in schema_values(schema, limit)}
    words |= set(schema_values(schema, "const"))

    assert words <= set(re.findall(r"[\w-]+", text))


LEAST = {name: found[1] for name in VALUES if (found := re.search(r"(\d+[a-zA-Z]+) or more", KEYS[name].label("Range")))}


@pytest.mark.parametrize("name", LEAST)
def test_a_value_at_the_lower_limit_of_the_range_is_accepted_and_one_below_it_is_not(name: str) -> None:
    number, unit = re.fullmatch(r"(\d+)(\w+)", LEAST[name]).groups()  # type: ignore[union-attr]

    assert "is too small" not in said_of(in_a_policy(name, LEAST[name]))
    assert number == "0" or "is too small" in said_of(in_a_policy(name, f"{int(number) - 1}{unit}"))


@pytest.mark.parametrize("name", EXPLAINED)
def test_a_key_has_an_example_that_gives_it_another_value_than_its_default(name: str) -> None:
    example = KEYS[name].after("Example").literal_blocks[0]
    given = Document([PolicyText(source=SOURCE, content=example.encode())]).origins()

    assert any(f"{key}.".startswith(f"{name}.") for key in given)
    assert decode(example) != Policy()


@pytest.mark.parametrize("name", EXPLAINED)
def test_a_key_has_what_goes_wrong_with_it(name: str) -> None:
    messages = KEYS[name].after("What goes wrong").literal_blocks

    assert messages
    assert all(name in message.splitlines()[0] for message in messages)


@pytest.mark.parametrize("block", [block for block in BLOCKS if is_message(block)], ids=quoted_line)
def test_what_goes_wrong_is_what_kdumpd_says(block: str) -> None:
    assert block == said_of(quoted_line(block))


@pytest.mark.parametrize("block", [block for block in BLOCKS if not is_message(block)])
def test_every_example_is_a_valid_policy(block: str) -> None:
    decode(block)


def test_a_page_that_is_wrong_is_found_out() -> None:
    """The reader of the page sees what a test needs to see."""
    (found,) = pages.sections("# a.b\n\nText.\n\n*Default:* _x_ y_z\n\n*Example:*\n\n```\na: \\\\\n```\n")

    assert (found.heading, found.label("Default"), found.after("Example").literal_blocks) == ("a.b", "x y_z", ["a: \\\n"])
    with pytest.raises(AssertionError, match='no "Range:"'):
        found.label("Range")
