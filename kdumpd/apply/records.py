# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an apply remembers, for the day on which all of it is taken back."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from kdumpd.host import layout
from kdumpd.host.facts import Facts
from kdumpd.host.original import Original, OriginalFile
from kdumpd.plan.steps import FileStep, RemoveFile, WriteFile, fingerprint


def records(files: Sequence[FileStep], values: Mapping[str, str], facts: Facts, root: Path) -> Iterator[WriteFile]:
    """By which kdumpd knows its own files again, and what was there before them."""
    gone = {step.path for step in files if isinstance(step, RemoveFile)}
    written = [step for step in files if isinstance(step, WriteFile)]
    kept = {path: known for path, known in facts.rendered.items() if path not in gone}
    now = kept | {step.path: fingerprint(step.content) for step in written}
    yield WriteFile(path=layout.absolute(layout.RENDERED), content=json.dumps(now, indent=2) + "\n", before=None)
    before = facts.original
    taken_over = {
        step.path: _as_it_is(root, step.path, step.before)
        for step in written
        if step.before is not None and _is_foreign(step, facts)
    }
    original = Original(files={**before.files, **taken_over}, values={**values, **before.values})
    yield WriteFile(path=layout.absolute(layout.ORIGINAL), content=original.to_json(), before=None, mode=0o600)


def _is_foreign(step: WriteFile, facts: Facts) -> bool:
    """Whether it takes the place of what is not kdumpd's; also when a package has put its own there once more."""
    found = facts.files.get(step.path)
    is_state = step.path.startswith(f"{layout.absolute(layout.STATE)}/")
    return not is_state and (step.path not in facts.rendered or bool(found and found.pristine))


def _as_it_is(root: Path, path: str, content: str) -> OriginalFile:
    return OriginalFile(content=content, mode=(root / path.lstrip("/")).stat().st_mode & 0o7777)


def folders_to_make(files: Iterable[FileStep], root: Path) -> Iterator[str]:
    """The folders that writing these files makes. That of kdumpd's own state is no trace: its package removes it."""
    for parent in {Path(step.path).parent for step in files if isinstance(step, WriteFile)}:
        if parent != Path(layout.absolute(layout.STATE)):
            yield from missing_folders(root, str(parent))


def missing_folders(root: Path, path: str) -> Iterator[str]:
    """This folder and those above it, as far as they are not there."""
    for folder in (Path(path), *Path(path).parents):
        if not (root / str(folder).lstrip("/")).exists():
            yield str(folder)
