# SPDX-License-Identifier: LGPL-2.1-or-later
"""`make fuzz`: a coverage-guided fuzzer on what reads hostile bytes. What it has found before is kept in build/fuzz."""

import hashlib
import importlib
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import atheris

FOLDER = Path(__file__).parents[2] / "build/fuzz"
# More than five seconds for one input is a hang, and half a gigabyte is memory that grows.
OPTIONS = ("-timeout=5", "-rss_limit_mb=512", "-max_len=65536", "-max_total_time=30", "-verbosity=0", "-print_final_stats=1")
# What libFuzzer takes into a dictionary.
MAX_WORD = 60


def main() -> None:
    name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=["kdumpd"]):
        target = importlib.import_module(f"tests.fuzz.{name}")
    corpus, seeds, words = FOLDER / name, FOLDER / f"{name}-seeds", FOLDER / f"{name}.dict"
    for folder in (corpus, seeds):
        folder.mkdir(parents=True, exist_ok=True)
    samples = list(target.seeds())
    for sample in samples:
        (seeds / hashlib.sha256(sample).hexdigest()).write_bytes(sample)
    words.write_text(dictionary(samples))
    own = (*OPTIONS, f"-dict={words}", f"-artifact_prefix={FOLDER}/{name}-")
    # Of an option that is given twice the last one counts.
    atheris.Setup([sys.argv[0], *own, *options, str(corpus), str(seeds)], target.check)
    atheris.Fuzz()


def dictionary(samples: Iterable[bytes]) -> str:
    """The words of the samples, with the numbers among them only once, as libFuzzer's -dict= takes them."""
    by_form = {re.sub(rb"[0-9a-f]*\d[0-9a-f]*", b"0", word): word for sample in samples for word in re.findall(rb"\S{3,}", sample)}
    words = sorted(word for word in by_form.values() if len(word) <= MAX_WORD)
    return "".join('"{}"\n'.format("".join(f"\\x{byte:02x}" for byte in word)) for word in words)


if __name__ == "__main__":
    main()
