# SPDX-License-Identifier: LGPL-2.1-or-later
"""Text from logs and crashed programs, fit for a terminal."""


def harmless(text: str) -> str:
    """The text with a blank for all that would begin a new line or speak to the terminal."""
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def one_line(text: str) -> str:
    """The same, without blanks at its ends, and no two of them side by side."""
    return " ".join(harmless(text).split())
