"""Whatever happens to the decoding process, its file gets a code and the next file is decoded."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import media
import numpy as np
import pytest
from cells import confined_cell, confined_cells
from processes import cpu_ticks, descendants, is_alive

from securevqa_core.decoding.extract import DecodeRequest, extract_sample
from securevqa_core.decoding.sandbox import DecodeSandbox
from securevqa_core.decoding.warm_process import NoCellError, WarmProcess
from securevqa_core.errors import DecodeError
from securevqa_core.types import DecodeLimits, SamplingConfig

RequestMaker = Callable[..., DecodeRequest]


@pytest.fixture(scope="module")
def sandbox(faults: Callable[[str], str]) -> Iterator[DecodeSandbox]:
    with DecodeSandbox(DecodeLimits(timeout_seconds=20)) as sandbox:
        yield sandbox


@pytest.fixture
def decodes(
    sandbox: DecodeSandbox, videos: dict[str, Path], make_request: RequestMaker
) -> Callable[[], bool]:
    """Tell whether a good video decodes now."""
    return lambda: sandbox.decode(str(videos["carphone_h264.mkv"]), make_request()).info.num_frames == 60


def test_the_sandbox_gives_what_decoding_here_gives(
    sandbox: DecodeSandbox, videos: dict[str, Path], make_request: RequestMaker
) -> None:
    path, request = str(videos["bikes_h264.mp4"]), make_request(SamplingConfig(), num_draws=2)
    there, here = sandbox.decode(path, request), extract_sample(path, request)
    for name in ("patches", "frames", "segments"):
        assert (getattr(there, name) == getattr(here, name)).all()
    assert (there.info, there.decoder, there.warnings) == (here.info, here.decoder, here.warnings)


def test_one_warm_process_serves_many_videos_each_from_a_process_of_its_own(
    sandbox: DecodeSandbox,
    decodes: Callable[[], bool],
    make_request: RequestMaker,
    faults: Callable[[str], str],
) -> None:
    assert decodes()
    pid = sandbox.pid
    tell = faults(
        "from securevqa_core.errors import DecodeError; import os\n"
        "raise DecodeError('decode_failed', str(os.getpid()))"
    )
    cells = set()
    for _ in range(3):
        with pytest.raises(DecodeError) as caught:
            sandbox.decode(tell, make_request(decoder="pyav"))
        cells.add(int(str(caught.value)))
    assert len(cells) == 3
    assert sandbox.pid == pid not in cells
    deadline = time.monotonic() + 10
    while cells & set(descendants(pid or 0)):  # zombies are among them
        assert time.monotonic() < deadline, "a cell outlived its video"
        time.sleep(0.01)
    assert len(descendants(pid or 0)) == 1  # the one that waits


def test_what_a_cell_changes_in_its_memory_is_unknown_to_the_next(
    sandbox: DecodeSandbox, make_request: RequestMaker, faults: Callable[[str], str]
) -> None:
    code = (
        "import sys; from securevqa_core.errors import DecodeError\n"
        "found = sys.modules.get('taken_over'); sys.modules['taken_over'] = 'yes'\n"
        "raise DecodeError('decode_failed', f'found {found}')"
    )
    for _ in range(2):
        with pytest.raises(DecodeError, match=r"^found None$"):
            sandbox.decode(faults(code), make_request(decoder="pyav"))


def test_a_refusal_leaves_the_process_alive(
    sandbox: DecodeSandbox, videos: dict[str, Path], make_request: RequestMaker, decodes: Callable[[], bool]
) -> None:
    assert decodes()
    pid = sandbox.pid
    for name, code in (("text.mp4", "not_a_video"), ("audio_only.mp4", "no_video_stream")):
        with pytest.raises(DecodeError) as caught:
            sandbox.decode(str(videos[name]), make_request())
        assert caught.value.code == code
    assert decodes()
    assert sandbox.pid == pid


FAULTS = {
    "killed": ("import os; os.kill(os.getpid(), 9)", "was ended by SIGKILL"),
    "segfault": ("import ctypes; ctypes.string_at(0)", "was ended by SIGSEGV"),
    "abort": ("import os; os.abort()", "was ended by SIGABRT"),
    "bus_error": ("import os; os.kill(os.getpid(), 7)", "was ended by SIGBUS"),
    "exit": ("import os; os._exit(3)", "ended with exit code 3"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_process_that_dies_over_a_file_is_that_files_failure_alone(
    sandbox: DecodeSandbox,
    make_request: RequestMaker,
    decodes: Callable[[], bool],
    faults: Callable[[str], str],
    name: str,
) -> None:
    assert decodes()
    pid = sandbox.pid
    code, how = FAULTS[name]
    with pytest.raises(DecodeError, match=f"the decoding process {how}") as caught:
        sandbox.decode(faults(code), make_request())
    assert caught.value.code == "decode_crashed"
    assert decodes()
    assert sandbox.pid != pid


SEEN = {
    "allocation_bomb": ("bytearray(1 << 40)", "decode_memory", "outgrew its limit"),
    "growth": ("blocks = []\nwhile True: blocks.append(bytearray(1 << 26))", "decode_memory", "outgrew its"),
    "recursion": ("f = lambda: f()\nf()", "decode_failed", "unexpected RecursionError"),
    "exception": ("1 / 0", "decode_failed", "unexpected ZeroDivisionError"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SEEN)
def test_what_python_sees_is_the_files_failure_and_the_process_lives_on(
    sandbox: DecodeSandbox,
    make_request: RequestMaker,
    decodes: Callable[[], bool],
    faults: Callable[[str], str],
    name: str,
) -> None:
    code, error_code, message = SEEN[name]
    assert decodes()
    pid = sandbox.pid
    with pytest.raises(DecodeError, match=message) as caught:
        sandbox.decode(faults(code), make_request())
    assert caught.value.code == error_code
    assert decodes()
    assert sandbox.pid == pid


@pytest.mark.slow
def test_a_crash_of_pyav_leads_to_decord(
    sandbox: DecodeSandbox, make_request: RequestMaker, faults: Callable[[str], str]
) -> None:
    """The second request says so; with a backend named there is none."""
    code = "import os\nif request.has_crashed_pyav: raise ValueError\nos.abort()"
    with pytest.raises(DecodeError, match="was ended by SIGABRT"):
        sandbox.decode(faults(code), make_request())
    assert sandbox.pid is not None  # the one that was asked second lives
    with pytest.raises(DecodeError, match="was ended by SIGABRT"):
        sandbox.decode(faults(code), make_request(decoder="pyav"))
    assert sandbox.pid is None


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["cell", "warm process"])
def test_a_process_that_dies_in_mid_decode_is_replaced(
    sandbox: DecodeSandbox,
    numbered: Callable[[str, str], Path],
    make_request: RequestMaker,
    decodes: Callable[[], bool],
    whom: str,
) -> None:
    """The death of the warm process, which reads no file, is no file's doing: the video is decoded again."""
    large = numbered("large.mp4", "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -vf scale=1920:1080")
    assert decodes()
    first, cells, before = sandbox.pid, [], confined_cells(sandbox)
    assert first is not None

    def kill_when_busy() -> None:
        cells.append(confined_cell(sandbox, other_than=before))
        while cpu_ticks(cells[0]) < 10:
            time.sleep(0.005)
        os.kill(cells[0] if whom == "cell" else first, signal.SIGKILL)

    thread = threading.Thread(target=kill_when_busy)
    thread.start()
    request = make_request(SamplingConfig(), num_draws=8, decoder="pyav")
    if whom == "cell":
        with pytest.raises(DecodeError, match="was ended by SIGKILL"):
            sandbox.decode(str(large), request)
    else:
        assert sandbox.decode(str(large), request).info.num_frames == 100
    thread.join()
    assert not is_alive(cells[0])
    assert decodes()
    assert sandbox.pid != first


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSEGV])
def test_a_process_that_dies_while_idle_costs_no_video(
    sandbox: DecodeSandbox, decodes: Callable[[], bool], fault: signal.Signals
) -> None:
    assert decodes()
    pid = sandbox.pid
    assert pid is not None
    os.kill(pid, fault)
    while is_alive(pid):
        time.sleep(0.005)
    assert decodes()
    assert sandbox.pid != pid


@pytest.mark.slow
@pytest.mark.parametrize("code", ["import time; time.sleep(60)", "while True: pass"], ids=["hang", "loop"])
@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_process_that_hangs_is_killed_within_the_limit(
    videos: dict[str, Path],
    make_request: RequestMaker,
    faults: Callable[[str], str],
    code: str,
    is_stopped: bool,
) -> None:
    with DecodeSandbox(DecodeLimits(timeout_seconds=1.0)) as sandbox:
        sandbox.decode(str(videos["carphone_h264.mkv"]), make_request())
        pid = sandbox.pid
        assert pid is not None
        if is_stopped:  # takes no request either, which looks like a death while idle: one more start
            os.kill(pid, signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(DecodeError, match="decoding took longer than 1 s") as caught:
            sandbox.decode(faults(code), make_request())
        assert time.monotonic() - started < 15
        assert caught.value.code == "decode_timeout"
        assert not is_alive(pid)
        assert sandbox.decode(str(videos["carphone_h264.mkv"]), make_request()).info.num_frames == 60


@pytest.mark.slow
def test_processor_time_is_limited_too(make_request: RequestMaker, faults: Callable[[str], str]) -> None:
    """Several threads use it faster than the clock goes; here one does, against a clock that is patient."""
    request = make_request(limits=DecodeLimits(timeout_seconds=0.1))
    with DecodeSandbox(DecodeLimits(timeout_seconds=60)) as sandbox:
        with pytest.raises(DecodeError, match="more processor time") as caught:
            sandbox.decode(faults("while True: pass"), request)
        assert caught.value.code == "decode_timeout"


def test_what_is_no_regular_file_is_refused(
    sandbox: DecodeSandbox, make_request: RequestMaker, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path, reason in (
        (fifo, "not a regular file"),
        (tmp_path, "not a regular file"),
        (tmp_path / "gone", "No such file"),
        ("a\0b", "ValueError"),
    ):
        with pytest.raises(DecodeError, match=reason) as caught:
            sandbox.decode(str(path), make_request())
        assert caught.value.code == "decode_failed"


def test_a_file_that_needs_too_much_memory_is_refused(
    make_request: RequestMaker, videos: dict[str, Path], tmp_path: Path
) -> None:
    huge = tmp_path / "huge.mp4"
    media.run_ffmpeg(
        *f"-i {videos['one_frame.mp4']} -vf scale=8000:4000 -c:v libx264 -preset ultrafast {huge}".split()
    )
    limits = DecodeLimits(memory_bytes=512 << 20)
    with DecodeSandbox(limits) as sandbox:
        with pytest.raises(DecodeError) as caught:
            sandbox.decode(str(huge), make_request(SamplingConfig(), num_draws=8, limits=limits))
        assert (caught.value.code, str(caught.value)) == (
            "decode_memory",
            f"the decoder outgrew its limit of {512 << 20} bytes",
        )
        assert sandbox.decode(str(videos["carphone_h264.mkv"]), make_request()).info.num_frames == 60


@pytest.mark.slow
def test_the_default_memory_limit_is_enough_for_the_largest_frames(
    make_request: RequestMaker, videos: dict[str, Path], tmp_path: Path
) -> None:
    largest = tmp_path / "largest.mp4"
    source = f"-stream_loop 1 -i {videos['one_frame.mp4']} -vf scale=8192:4320,setsar=1"
    media.run_ffmpeg(*f"{source} -c:v libx264 -preset ultrafast -bf 2 -refs 4 {largest}".split())
    request = make_request(SamplingConfig(), num_draws=1)
    with DecodeSandbox(DecodeLimits()) as sandbox:
        assert sandbox.decode(str(largest), request).info.height == 4320


def test_closing_ends_the_process_and_another_is_started_when_needed(
    videos: dict[str, Path], make_request: RequestMaker
) -> None:
    sandbox = DecodeSandbox(DecodeLimits())
    assert sandbox.pid is None  # nothing is started before it is needed
    sandbox.decode(str(videos["carphone_h264.mkv"]), make_request())
    first = sandbox.pid
    assert first is not None
    sandbox.close()
    sandbox.close()
    assert not is_alive(first)
    sandbox.decode(str(videos["carphone_h264.mkv"]), make_request())
    second = sandbox.pid
    assert second not in (None, first)
    del sandbox  # a sandbox that nobody closes takes its process along
    assert not is_alive(second or 0)


def test_a_process_that_cannot_be_started_is_said_so(
    monkeypatch: pytest.MonkeyPatch, videos: dict[str, Path], make_request: RequestMaker
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with (
        DecodeSandbox(DecodeLimits()) as sandbox,
        pytest.raises(DecodeError, match="cannot be started, tried 2 times") as caught,
    ):
        sandbox.decode(str(videos["carphone_h264.mkv"]), make_request())
    assert caught.value.code == "decode_crashed"


def test_a_process_that_is_ended_as_it_starts_is_not_complained_of(
    videos: dict[str, Path], make_request: RequestMaker, caplog: pytest.LogCaptureFixture
) -> None:
    """As Ctrl-C does it, of which one line is said."""
    process = WarmProcess(1 << 30)
    process.kill()
    with videos["carphone_h264.mkv"].open("rb") as file, pytest.raises(NoCellError):
        process.ask(file.fileno(), make_request(), 60, lambda _: None)
    process.end()
    assert caplog.messages == []


def test_an_interrupted_decode_does_not_leave_its_answer_to_the_next(
    sandbox: DecodeSandbox,
    videos: dict[str, Path],
    make_request: RequestMaker,
    faults: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("securevqa_core.decoding.sandbox.read_answer", interrupt)
        with pytest.raises(KeyboardInterrupt):
            sandbox.decode(faults("import time; time.sleep(60)"), make_request())
    assert sandbox.pid is None  # nobody waits for the rest of that answer
    sample = sandbox.decode(str(videos["bikes_h264.mp4"]), make_request())
    assert (sample.info.width, sample.info.num_frames) == (160, 50)
    assert np.asarray(sample.patches).any()


def test_two_sandboxes_do_not_disturb_each_other(
    sandbox: DecodeSandbox,
    decodes: Callable[[], bool],
    make_request: RequestMaker,
    faults: Callable[[str], str],
) -> None:
    assert decodes()
    with (
        DecodeSandbox(DecodeLimits(timeout_seconds=0.5)) as other,
        pytest.raises(DecodeError, match=r"longer than 0\.5 s"),
    ):
        other.decode(faults("import time; time.sleep(60)"), make_request())
    pid = sandbox.pid
    assert decodes()
    assert sandbox.pid == pid
