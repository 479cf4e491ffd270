"""The corpus of inputs: one a line, in hexadecimal, in fuzz/corpus/TARGET.hex."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "fuzz" / "corpus"
FOUND = ROOT / "runs" / "fuzz"
BUNDLE = ROOT / "bundles" / "insertion-pearl"  # what the bridge of the handshake's fuzzer serves
TARGETS = ("decoder", "handshake")


def read(target: str) -> list[bytes]:
    """All inputs kept for a target."""
    path = FOLDER / f"{target}.hex"
    return [bytes.fromhex(line) for line in path.read_text().splitlines()] if path.exists() else []


def write(target: str, inputs: list[bytes]) -> None:
    """Replace the corpus by these inputs, shortest first."""
    FOLDER.mkdir(exist_ok=True)
    lines = [data.hex() for data in sorted(set(inputs), key=lambda data: (len(data), data))]
    (FOLDER / f"{target}.hex").write_text("".join(f"{line}\n" for line in lines))


def unpack(inputs: list[bytes], folder: Path) -> None:
    """Write the inputs as files, as libFuzzer reads them."""
    for number, data in enumerate(inputs):
        (folder / f"{number:06}").write_bytes(data)
