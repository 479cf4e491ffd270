"""Fuzzes the frame decoder or the handshake with atheris, guided by coverage.

    python -m fuzz.run decoder -runs=1000000        # and other options of libFuzzer's
    python -m fuzz.run handshake -runs=1000000

Starts from the seeds and fuzz/corpus/TARGET.hex, and keeps what it finds in runs/fuzz/TARGET. An
input that breaks a rule is written to runs/fuzz/crash-…; `python -m fuzz.run TARGET FILE` runs it
alone. `python -m fuzz.keep` thins what was found and adds it to the corpus, which the tests replay.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(  # pyright: ignore[reportAttributeAccessIssue]
    include=["robot_bridge", "adapt", "fuzz"]
):
    from adapt.bundle.policy_bundle import PolicyBundle
    from fuzz import corpus, seeds, targets

LONGEST_INPUT = 8192  # bytes; the bounds of longer frames are single comparisons, tested elsewhere
WORDS = Path(__file__).resolve().parent / "words.dict"


def target(name: str) -> tuple[Callable[[bytes], int], list[bytes]]:
    """The function under test, and the inputs to start from."""
    bundle = PolicyBundle.load(corpus.BUNDLE)
    kept = corpus.read(name)
    if name == "decoder":
        return targets.decoder, seeds.singles(bundle) + kept
    return targets.Handshake(bundle), seeds.conversations(bundle.manifest) + kept


def main(argv: list[str]) -> None:
    """Run libFuzzer, which ends the process; with 77 if an input broke a rule."""
    if not argv or argv[0] not in corpus.TARGETS:
        raise SystemExit(f"fuzz.run: expected one of {', '.join(corpus.TARGETS)}")
    name, options = argv[0], argv[1:]
    function, start = target(name)
    found = corpus.FOUND / name
    found.mkdir(parents=True, exist_ok=True)
    places = [] if options and not options[-1].startswith("-") else [str(found)]
    with tempfile.TemporaryDirectory() as folder:
        corpus.unpack(start, Path(folder))
        if places:
            places.append(folder)
        settings = [
            f"-max_len={LONGEST_INPUT}",
            f"-dict={WORDS}",
            f"-artifact_prefix={corpus.FOUND}/",
            "-print_final_stats=1",
        ]

        def one(data: bytes) -> None:
            function(data)

        atheris.Setup([sys.argv[0], *settings, *options, *places], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
