"""Progress: a bar on a terminal, lines elsewhere."""

import io

from rich.console import Console

from robot_bridge.system.progress import EVERY, Progress

NEWS = "validation " + "0.5 " * 20


def shown(terminal: bool, times: list[float], updates: list[tuple[int, str]]) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=60, color_system=None)
    clock = iter([0.0, *times])
    with Progress("run", 10, console=console, clock=lambda: next(clock)) as progress:
        for completed, news in updates:
            progress.update(completed, f"return {completed}.0", news)
    return stream.getvalue()


def test_a_file_gets_a_whole_line_for_news_for_the_end_and_now_and_then():
    times = [1.0, 2.0, 3.0, 2.0 + EVERY, 3.0 + EVERY]
    lines = shown(False, times, [(1, ""), (2, NEWS), (3, ""), (4, ""), (10, "")]).splitlines()
    assert lines == [
        f"run  2/10  return 2.0  {NEWS}",
        "run  4/10  return 4.0",
        "run  10/10  return 10.0",
    ]


def test_a_terminal_gets_a_bar_with_news_above_it():
    text = shown(True, [1.0, 100.0, 200.0], [(1, ""), (2, NEWS), (10, "")])
    assert text.count("run  2/10") == 1 and NEWS in text
    assert "10/10" in text and "━" in text
    assert "run  1/10" not in text and "run  10/10" not in text
