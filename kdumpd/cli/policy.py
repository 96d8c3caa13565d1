# SPDX-License-Identifier: LGPL-2.1-or-later
"""`kdumpd policy …`."""

import argparse
import json

from kdumpd.apply.look import read_policy_texts
from kdumpd.errors import ExitCode
from kdumpd.policy.decode import decode_policy
from kdumpd.policy.show import schema, show_policy


def run(arguments: argparse.Namespace) -> ExitCode:
    match arguments.action:
        case "schema":
            print(json.dumps(schema(), indent=2))
        case "show":
            print(show_policy(read_policy_texts(arguments.policy)))
        case "check":
            texts = read_policy_texts(arguments.file or arguments.policy)
            decode_policy(texts)
            print(f"no problem in {' and '.join(text.source for text in texts)}")
    return ExitCode.OK
