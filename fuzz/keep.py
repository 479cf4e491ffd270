"""`python -m fuzz.keep`: adds the fuzzers' findings to the corpus, one input for each new branch.

Inputs are tried from the shortest on. An input is kept if it executes two of our lines one after
the other that no input before it executed in this order.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from adapt.bundle.policy_bundle import PolicyBundle
from fuzz import corpus, targets

OURS = tuple(str(corpus.ROOT / name) for name in ("robot_bridge", "adapt"))

Step = tuple[str, int, int]


def steps(function: Callable[[bytes], int], data: bytes) -> set[Step]:
    """Pairs of our lines that one input executes one after the other: (file, line, line)."""
    found: set[Step] = set()

    def begin(frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        name = frame.f_code.co_filename
        if not name.startswith(OURS):
            return None
        before = frame.f_lineno

        def go_on(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal before
            found.add((name, before, frame.f_lineno))
            before = frame.f_lineno
            return go_on

        return go_on

    sys.settrace(begin)
    try:
        function(data)
    finally:
        sys.settrace(None)
    return found


def thinned(function: Callable[[bytes], int], inputs: list[bytes]) -> list[bytes]:
    """The inputs with a pair of lines that no shorter input has."""
    seen: set[Step] = set()
    kept: list[bytes] = []
    for data in sorted(set(inputs), key=lambda data: (len(data), data)):
        new = steps(function, data) - seen
        if new:
            kept.append(data)
            seen |= new
    return kept


def main() -> int:
    """Returns 0."""
    functions: dict[str, Callable[[bytes], int]] = {
        "decoder": targets.decoder,
        "handshake": targets.Handshake(PolicyBundle.load(corpus.BUNDLE)),
    }
    for name, function in functions.items():
        found = [path.read_bytes() for path in (corpus.FOUND / name).glob("*")]
        kept = thinned(function, corpus.read(name) + found)
        corpus.write(name, kept)
        print(f"{name}: {len(kept)} of {len(found)} found and kept before")
    return 0


if __name__ == "__main__":
    sys.exit(main())
