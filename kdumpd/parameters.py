# SPDX-License-Identifier: LGPL-2.1-or-later
"""A kernel command line, taken apart as the kernel does it."""


def tokenize(command_line: str) -> tuple[str, ...]:
    """Splits at blanks outside double quotes, as the kernel's next_arg() does (lib/cmdline.c). Quotes stay."""
    tokens: list[str] = []
    token, quoted = "", False
    for char in command_line:
        if char == '"':
            quoted = not quoted
        if char.isspace() and not quoted:
            if token:
                tokens.append(token)
            token = ""
        else:
            token += char
    return (*tokens, token) if token else tuple(tokens)


def parameter_name(token: str) -> str:
    """The name in `name=value` or `"name=value with blanks"`, with _ for -: the kernel takes both for the same."""
    return token.strip('"').partition("=")[0].replace("-", "_")


def values(command_line: str, name: str) -> tuple[str, ...]:
    """All values that a command line has for a parameter, in its order; the kernel decides which of them counts."""
    wanted = name.replace("-", "_")
    return tuple(token.strip('"').partition("=")[2] for token in tokenize(command_line) if parameter_name(token) == wanted)
