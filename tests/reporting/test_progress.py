"""What a person sees of long work, on a terminal and in a log file."""

import io
import time

import pytest

from seg_al.reporting import progress as module
from seg_al.reporting.progress import Progress, progress


class Terminal(io.StringIO):
    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True

    def frames(self) -> list[str]:
        return [frame.strip("\n") for frame in self.getvalue().split("\r") if frame.strip()]


class Clock:
    """Time that passes when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "time", lambda: self.now)
        monkeypatch.setattr("tqdm.std.time", lambda: self.now)
        monkeypatch.setattr(Progress, "_next_plain_line", None)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setenv("TERM", "xterm")
    return Clock(monkeypatch)


def work(bar: Progress, clock: Clock, steps: int, seconds: float = 1.0) -> None:
    for _ in range(steps):
        clock.now += seconds
        bar.update(1, loss=0.3141)


def test_a_terminal_shows_what_is_done_and_when_it_ends(clock: Clock) -> None:
    terminal = Terminal()
    with Progress("round 2/6 · train", total=200, file=terminal) as bar:
        work(bar, clock, 50)
        assert terminal.frames()[-1].startswith("round 2/6 · train   25% █")
        assert terminal.frames()[-1].endswith("  50/200 steps  loss 0.314  ETA 2:30")
        work(bar, clock, 150)
    assert terminal.frames()[-1].endswith("  200/200 steps  loss 0.314  in 3:20")


def test_every_frame_fits_80_columns_and_keeps_the_time(clock: Clock) -> None:
    terminal = Terminal()
    with Progress("round 12/20 · train VAAL", total=26700, file=terminal) as bar:
        for step in range(1, 30):
            clock.now += 1
            bar.update(100, loss=0.31, reconstruction=step * 1234.5, adversarial=0.693, accuracy=0.5)
    assert all(len(frame) <= 80 for frame in terminal.frames())
    assert all("ETA" in frame for frame in terminal.frames())
    assert "loss 0.31" in terminal.frames()[-1]


@pytest.mark.parametrize("kind", [Terminal, io.StringIO])
def test_a_resumed_bar_takes_its_time_from_what_it_did_itself(clock: Clock, kind: type[io.StringIO]) -> None:
    file = kind()
    with Progress("train", total=200, initial=100, file=file) as bar:
        work(bar, clock, 30)
        assert "130/200 steps" in file.getvalue() and file.getvalue().rstrip().endswith("ETA 1:10")


def test_a_log_gets_a_line_now_and_then_without_control_characters(clock: Clock) -> None:
    log = io.StringIO()
    with Progress("round 2/6 · train", total=800, file=log) as bar:
        work(bar, clock, 800, seconds=0.125)
    assert log.getvalue().splitlines() == [
        "round 2/6 · train   30%  240/800 steps  loss 0.314  ETA 1:10",
        "round 2/6 · train   60%  480/800 steps  loss 0.314  ETA 0:40",
        "round 2/6 · train   90%  720/800 steps  loss 0.314  ETA 0:10",
        "round 2/6 · train  100%  800/800 steps  loss 0.314  in 1:40",
    ]


def test_many_short_bars_do_not_flood_a_log(clock: Clock) -> None:
    log = io.StringIO()
    for number in range(300):  # 300 s of work
        with Progress(f"part {number}", total=10, file=log) as bar:
            work(bar, clock, 10, seconds=0.1)
    assert 5 <= len(log.getvalue().splitlines()) <= 20


def test_a_dumb_terminal_is_treated_as_a_log(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    with Progress("train", total=100, file=terminal) as bar:
        work(bar, clock, 100)
    assert "\r" not in terminal.getvalue() and terminal.getvalue().count("\n") == 4


@pytest.mark.parametrize("file", [Terminal(), io.StringIO()])
def test_disabled_draws_nothing(clock: Clock, file: io.StringIO) -> None:
    with Progress("train", total=100, enabled=False, file=file) as bar:
        work(bar, clock, 100)
    assert file.getvalue() == ""


def test_work_of_unknown_length(clock: Clock) -> None:
    for file in (Terminal(), io.StringIO()):
        with Progress("listing", unit="file", file=file) as bar:
            work(bar, clock, 40)
        assert file.getvalue().rstrip().split("\r")[-1].endswith("listing  40 files  loss 0.314  in 0:40")


def test_no_time_is_promised_before_anything_is_done(clock: Clock) -> None:
    terminal = Terminal()
    Progress("train", total=10, file=terminal).close()
    assert all(frame.endswith("0/10 steps  ETA ?") for frame in terminal.frames())


def test_a_value_becomes_a_number_only_when_drawn(clock: Clock) -> None:
    class OnTheGPU:
        waits = 0

        def __float__(self) -> float:
            self.waits += 1
            return 0.5

    for file in (Terminal(), io.StringIO()):
        loss = OnTheGPU()
        with Progress("train", total=100_000, file=file) as bar:
            for _ in range(10_000):
                clock.now += 1e-4
                bar.update(1, loss=loss)
            assert loss.waits <= 20


def test_an_exception_passes_and_ends_the_line(clock: Clock) -> None:
    terminal = Terminal()
    with pytest.raises(KeyError), Progress("train", total=10, file=terminal) as bar:
        bar.update(3)
        raise KeyError
    assert terminal.getvalue().endswith("\n")
    assert "3/10 steps" in terminal.frames()[-1]


def test_an_iterable_passes_through(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(module.sys, "stderr", terminal)
    assert list(progress("abc", "read", unit="letter")) == ["a", "b", "c"]
    assert "3/3 letters" in terminal.frames()[-1]
    assert list(progress(iter("abc"), "read", 3)) == ["a", "b", "c"]
    assert "3/3 steps" in terminal.frames()[-1]
