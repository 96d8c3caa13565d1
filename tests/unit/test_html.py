# SPDX-License-Identifier: LGPL-2.1-or-later
"""The report as a page: whole, alone, and deaf to whatever a log says."""

import stat
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdumpd.capture.status import CrashFacts, Memory, Status, Step
from kdumpd.cli.html import write_html
from kdumpd.crashes.html import render_html
from kdumpd.crashes.make import make_report
from kdumpd.crashes.report import Captured, Record, Report, Source
from kdumpd.crashes.taint import decode_letters
from kdumpd.crashes.text.model import CrashText, Earlier, Frame, Kind, Module, Notes, Process
from kdumpd.errors import ExitCode, HostError
from tests.unit.fakes import file_system, fill
from tests.unit.test_memory_kinds import LOG as CAPTURE_LOG

DATA = Path(__file__).parents[1] / "data/dmesg"
LOGS = sorted(path.name for path in DATA.iterdir())
NULL = "x86_64-6.1.192-kdump-null.txt"
ID = "2026-11-23T01-02-03Z"
STATUS = Status(
    started="2026-11-23T01:02:09Z",
    kernel="6.1",
    crash=CrashFacts(page_size=4096),
    milestones={"log_safe": 5.31},
    steps=[
        Step(name="dmesg", ok=True, seconds=0.21, bytes=3169),
        Step(name="pstore", ok=False, seconds=0.4, detail="no such module"),
        Step(name="vmcore", ok=True, seconds=4.8, bytes=41 << 20),
    ],
    memory_kib=Memory(peak_used=40960),
    seconds=6.12,
    final_action="reboot",
)
VOID = {"meta", "rect", "line", "circle"}


class Page(HTMLParser):
    """A page, read as a browser does; `shape` is its elements with their attributes, without its texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.shape: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.headings: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.shape.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self._open[-1:] == ["h2"]:
            self.headings.append(data)


def crash(store: Path, log: bytes | str | None = NULL, status: Status | None = STATUS, capture_log: str = CAPTURE_LOG) -> Path:
    """The folder of a crash; a `log` that is no bytes is the name of a real one."""
    folder = store / ID
    folder.mkdir()
    if log is not None:
        (folder / "dmesg.txt").write_bytes((DATA / log).read_bytes() if isinstance(log, str) else log)
    if status:
        (folder / "status.json").write_text(status.to_json())
        (folder / "capture.log").write_text(capture_log)
    return folder


def page_of(folder: Path, seen: int = 1) -> Page:
    return Page(render_html(make_report(folder), folder=folder, seen=seen))


@pytest.mark.parametrize("log", LOGS)
def test_every_real_log_makes_a_whole_page_that_fetches_nothing(tmp_path: Path, log: str) -> None:
    folder = crash(tmp_path, log)
    text = render_html(make_report(folder), folder=folder, seen=1)
    page = Page(text)

    assert "script" not in text.lower()
    assert "url(" not in text
    assert "@import" not in text
    for _, attributes in page.shape:
        assert not [
            name for name in attributes if name in ("src", "href", "xlink:href", "style", "srcset") or name.startswith("on")
        ]
    policy = {"http-equiv": "Content-Security-Policy", "content": "default-src 'none'; style-src 'unsafe-inline'"}
    assert ("meta", policy) in page.shape


def test_it_tells_all_that_is_known(tmp_path: Path) -> None:
    page = page_of(crash(tmp_path), seen=3)

    assert page.headings == [
        "The last minutes", "Call trace", "Taints", "Modules", "Registers and code", "The memory", "How it was saved",
    ]  # fmt: skip
    for wanted in (
        "BUG: kernel NULL pointer dereference, address: 0000000000000008, in kc_null() of module kcrash",
        "2026-11-23 01:02:03 UTC",
        "insmod, PID 143, CPU 1",
        "3 times, with this one",
        "39 ms kdumpd kdumpd marker: about to crash with null",
        "kc_null kcrash here it happened",
        "? 0xffffffffc056d000",
        "O a module from outside the kernel's tree was loaded \N{EN DASH} kcrash",
        "kcrash OE+ in the trace efi_pstore E",
        "RSP ff610d9c00403c20",
        "Unable to access opcode bytes",
        "free 3.0 MiB 18.8 %",
        "The log was safe 5.3 s after the dump kernel had started.",
        "The dump kernel needed 40 MiB of memory.",
        "pstore failed \N{EN DASH} no such module 0.4 s",
        "vmcore done 41 MiB 4.8 s",
    ):
        assert wanted in page.text


def test_frames_that_are_a_guess_are_marked(tmp_path: Path) -> None:
    page = page_of(crash(tmp_path))

    assert [attributes.get("class") for tag, attributes in page.shape if tag == "li"][:4] == ["place", None, "guess", None]


@pytest.mark.parametrize(
    ("log", "place"),
    [
        # A fault's own place is not in the trace, the one of a task that hung is.
        ("x86_64-6.1.192-kdump-null.txt", "kc_null kcrash here it happened kc_init"),
        ("x86_64-6.12.117-kdump-hung.txt", "hung_thread kcrash here it happened"),
    ],
)
def test_the_place_where_it_happened_is_marked_once(tmp_path: Path, log: str, place: str) -> None:
    text = page_of(crash(tmp_path, log)).text

    assert place in text
    assert text.count("here it happened") == 1


def test_the_byte_where_the_processor_stopped_is_marked(tmp_path: Path) -> None:
    page = page_of(crash(tmp_path, "x86_64-6.1.192-kdump-warn.txt"))

    assert "c9 f8 1e d2 0f 0b c3 cc" in page.text
    assert [tag for tag, _ in page.shape].count("mark") == 1


def test_a_crash_of_which_only_pstore_told_has_no_memory_and_no_steps(tmp_path: Path) -> None:
    folder = crash(tmp_path, status=None)
    report = make_report(folder, [Record(backend="efi", reason="Panic", count=2, parts=14, missing=(3, 4))])
    page = Page(render_html(report, folder=folder, seen=1))

    assert "The memory" not in page.headings
    assert "No dump kernel has told of this crash" in page.text
    assert "efi Panic 2 14 3, 4" in page.text


def test_a_crash_without_a_log_has_a_page_too(tmp_path: Path) -> None:
    page = page_of(crash(tmp_path, log=None, capture_log=""))

    assert page.headings == ["How it was saved"]
    assert "no log was saved: no such module" in page.text


def test_pages_of_an_unknown_size_are_counted(tmp_path: Path) -> None:
    page = page_of(crash(tmp_path, status=Status(started="", kernel="", steps=STATUS.steps)))

    assert "free 768 pages 18.8 %" in page.text


def test_a_status_with_values_of_other_types_is_no_reason_to_fail(tmp_path: Path) -> None:
    folder = crash(tmp_path)
    (folder / "status.json").write_text(
        '{"started": 1, "kernel": 2, "crash": {"page_size": "x"}, "milestones": {"log_safe": NaN}, "seconds": Infinity, '
        '"steps": [{"name": [], "ok": "no", "seconds": "<b>", "bytes": "many", "detail": {"a": "<i>"}}]}'
    )

    page = Page(render_html(Report(id=ID, time="", source=Source.DUMP), folder=folder, seen=1))
    assert "failed \N{EN DASH}" not in page.text
    assert ID in page.text


def told(text: str) -> CrashText:
    """A crash that says `text` wherever a log can put its own words."""
    return CrashText(
        kind=Kind.BUG,
        title=text,
        function=text,
        module=text,
        signature=text,
        fatal=False,
        panic=text,
        address=text,
        process=Process(comm=text, pid=1, cpu=2),
        release=text,
        hardware=text,
        uptime=float("inf"),
        taint=decode_letters("OE", [(text, "OE")]),
        trace=(Frame("first_frame", text, True), Frame(text, text, False, True)),
        registers={text: text},
        code=f"00 <0f> {text}",
        modules=(Module(text, text), Module("m", "O")),
        before=Notes(
            first_fault=Earlier(title=text, seconds=1.0),
            hardware_errors=(text,),
            hardware_error_count=1,
            oom_kills=(text, text),
            oom_kill_count=2,
        ),
        ftrace=(text,),
        ftrace_lines=1,
    )


def page_that_says(folder: Path, text: str) -> Page:
    steps = [Step(name=text, ok=True, seconds=1.0, detail=text)]
    status = Status(started=text, kernel=text, steps=steps, crash_loop=text, final_action=text, seconds=1.0)
    (folder / "status.json").write_text(status.to_json())
    report = Report(
        id=text,
        time=text,
        source=Source.DUMP,
        told=told(text),
        capture=Captured(seconds=1.0, problem=text, crash_loop=text),
        records=(Record(backend=text, reason=text, count=1, parts=1),),
        written_by=text,
    )
    page = render_html(report, folder=folder, seen=1)
    # A lone surrogate, which JSON can hold, can't be written.
    page.encode()
    return Page(page)


MARKUP = st.sampled_from(
    ["<script>", "</td>", "</style>", "<!--", "-->", "]]>", '"', "'", " onload=", "&lt;", "&", "{{", "}}", "{%"]
)


# A status with a NUL or half a character in it is not believed, and then there is less on the page.
TEXT = st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")


def test_half_a_character_in_a_report_can_be_written(tmp_path: Path) -> None:
    page_that_says(tmp_path, "\ud800")


@settings(max_examples=60)
@given(text=st.lists(MARKUP | st.text(TEXT, min_size=1, max_size=8), min_size=1, max_size=8).map("".join))
def test_no_text_gets_out_of_its_element(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("crash")

    assert page_that_says(folder, text).shape == page_that_says(folder, "x").shape


def test_text_is_shown_as_it_is_but_for_what_cannot_be_seen(tmp_path: Path) -> None:
    page = page_that_says(tmp_path, "</h1><b>&amp;\x1b[2J\u202eevil\ud800")

    assert page.texts.count("</h1><b>&amp;\ufffd[2J\ufffdevil\ufffd") > 10


@settings(max_examples=40)
@given(
    log=st.lists(
        st.sampled_from([b"[    1.000000] ", b"kdumpd <b>\n", b"BUG: <i>x\n", b"\n"]) | st.binary(max_size=20), max_size=30
    )
)
def test_whatever_bytes_a_log_has_the_page_is_whole(tmp_path_factory: pytest.TempPathFactory, log: list[bytes]) -> None:
    page = page_of(crash(tmp_path_factory.mktemp("store"), b"".join(log)))

    assert {"b", "i"}.isdisjoint(tag for tag, _ in page.shape)


def test_the_page_is_written_for_its_owner_only_and_its_place_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = crash(tmp_path)
    # The name comes from the folder: what a report says of itself may be anything.
    report = replace(make_report(folder), id="../../etc/passwd")

    assert write_html(report, folder, 1, None) is ExitCode.OK
    file = tmp_path / f"kdumpd-{ID}.html"
    assert capsys.readouterr().out == f"{file}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Page(file.read_text()).headings


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    folder = crash(tmp_path)
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")

    for name in ("mine", "link"):
        with pytest.raises(HostError, match=rf"{name}: is there already\nhint: remove it, or name another file after --html$"):
            write_html(make_report(folder), folder, 1, str(tmp_path / name))
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_page_that_does_not_fit_on_the_disk_leaves_nothing(tmp_path: Path) -> None:
    folder = crash(tmp_path)
    with file_system(tmp_path / "disk", 256) as disk:
        fill(disk, 4)
        with pytest.raises(OSError, match="No space left"):
            write_html(make_report(folder), folder, 1, str(disk / "new.html"))

        assert not (disk / "new.html").exists()


def test_a_dash_is_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = crash(tmp_path)
    report = make_report(folder)
    write_html(report, folder, 1, "-")

    assert capsys.readouterr().out == render_html(report, folder=folder, seen=1)


@pytest.mark.parametrize("peak", ["40 MiB", [1], 0.5, True, 10**400], ids=["text", "list", "fraction", "boolean", "huge"])
def test_of_a_status_with_a_mistyped_size_nothing_is_believed(tmp_path: Path, peak: object) -> None:
    memory = Memory(peak_used=peak)  # type: ignore[arg-type]
    page = page_of(crash(tmp_path, status=Status(started="", kernel="", steps=STATUS.steps, memory_kib=memory)))

    assert "The dump kernel needed" not in page.text
    assert "dmesg done" not in page.text
    assert "BUG: kernel NULL pointer dereference" in page.text


def test_a_negative_size_is_left_out(tmp_path: Path) -> None:
    step = Step(name="dmesg", ok=True, seconds=0.21, bytes=-1)
    memory, facts = Memory(peak_used=-1), CrashFacts(page_size=-1)
    page = page_of(crash(tmp_path, status=Status(started="", kernel="", steps=[step], memory_kib=memory, crash=facts)))

    assert "The dump kernel needed" not in page.text
    assert "dmesg done 0.2 s" in page.text
