# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd policy …`."""

import argparse

from kdumpd.apply.look import read_policy_texts
from kdumpd.errors import ExitCode
from kdumpd.policy.decode import decode_policy, show_policy


def run(arguments: argparse.Namespace) -> ExitCode:
    texts = read_policy_texts(arguments.policy)
    if arguments.action == "show":
        print(show_policy(texts))
    else:
        decode_policy(texts)
        print(f"no problem in {' and '.join(text.source for text in texts)}")
    return ExitCode.OK
