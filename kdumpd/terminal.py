# SPDX-License-Identifier: LGPL-2.1-or-later
"""Text from logs, crashed programs and other files, fit for a terminal. What is harmless is decided here alone."""

# For a class of characters: what can't be seen, but tab and newline. C0 and C1; what is no character but may stand in JSON; what
# would turn the text around it (Unicode's embeddings, overrides, isolates and marks); and line ends that only Unicode knows.
UNSEEN = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufffe\uffff"


def harmless(text: str) -> str:
    """The text with a blank for all that would begin a new line or speak to the terminal."""
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def harmless_lines(text: str) -> str:
    """The same for text of several lines, whose newlines and tabs stay."""
    return "\n".join("\t".join(map(harmless, line.split("\t"))) for line in text.split("\n"))


def one_line(text: str) -> str:
    """The text as one harmless line, without blanks at its ends, and no two of them side by side."""
    return " ".join(harmless(text).split())
