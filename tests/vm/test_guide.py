# SPDX-License-Identifier: LGPL-2.1-or-later
"""A person who follows docs/guide.md word for word, on a fresh server, gets what it says."""

from pathlib import Path

from kdumpd.errors import ExitCode
from tests.guides import DOCS, Command, NewFile, is_shown, story
from tests.vm.guest import Guest

# A verdict is no failure.
VERDICTS = {"kdumpd plan": ExitCode.WOULD_CHANGE, "kdumpd status": ExitCode.NOT_ARMED}
QUESTION = " [y/N] "
TRANSCRIPT = "transcript.txt"


class Reader:
    """Does what the guide says, and keeps what it did not expect. All that was seen is beside the guest's consoles."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.surprises: list[str] = []
        self.transcript = guest.logs / TRANSCRIPT

    def follow(self, step: Command | NewFile) -> None:
        """Goes on after a surprise, so that one run shows all of them."""
        if isinstance(step, NewFile):
            self.guest.run(f"mkdir -p {Path(step.path).parent}")
            self.guest.write(step.path, step.content)
        elif step.typed == "reboot":
            self.guest.reboot()
        else:
            self._type(step)

    def _type(self, command: Command) -> None:
        asks = command.shown[-1:] and QUESTION in command.shown[-1]
        printed = self._until_asked(command.typed) if asks else self._run(command.typed)
        shown = (*command.shown[:-1], command.shown[-1].partition(QUESTION)[0]) if asks else command.shown
        with self.transcript.open("a") as file:
            file.write(f"# {command.typed}\n{printed}")
        if not is_shown(shown, printed):
            self._wonder(command.typed, "\n".join(shown), printed)
        if asks:
            self.guest.panic(f"echo y | {_on_a_terminal(command.typed)}")
            self.guest.wait_poweroff()
            self.guest.boot()

    def _run(self, typed: str) -> str:
        done = self.guest.run(f"cd /root && exec 2>&1\n{typed}", check=False)
        if done.returncode not in (ExitCode.OK, VERDICTS.get(typed)):
            self._wonder(typed, "success", f"exit code {done.returncode}")
        return done.stdout

    def _until_asked(self, typed: str) -> str:
        """What a command says before it asks; it is told no."""
        printed = self.guest.run(f"echo n | {_on_a_terminal(typed)}", check=False).stdout.replace("\r", "")
        # The terminal shows what is typed when it is typed, which may be before there is a question.
        return printed.removeprefix("n\n").partition(QUESTION)[0] + "\n"

    def _wonder(self, typed: str, shown: str, printed: str) -> None:
        self.surprises.append(f"# {typed}\n--- the guide shows\n{shown}\n--- the server printed\n{printed}")


def _on_a_terminal(command: str) -> str:
    return f"script --quiet --command '{command}' /dev/null"


def test_who_follows_the_guide_gets_what_it_says(deb: Path, fresh_guest: Guest) -> None:
    guest = fresh_guest
    guest.write("/root/kdumpd.deb", deb.read_bytes())
    reader = Reader(guest)
    for step in story((DOCS / "guide.md").read_text()):
        reader.follow(step)

    assert not reader.surprises, "\n\n".join(reader.surprises)
    # The way through the guide was not a detour: the machine has crashed once, and is armed.
    assert len(guest.run("ls /var/crash").stdout.split()) == 1
    assert guest.read("/sys/kernel/kexec_crash_loaded").strip() == "1"
