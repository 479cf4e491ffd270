"""Golden vectors: what the graphs must still answer, in a file that cannot do harm."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import adapt.bundle.archive
from adapt.bundle.golden import decode_golden, encode_golden
from adapt.bundle.policy_bundle import PolicyBundle
from adapt.errors import BundleError
from tests.support import tiny_bundle
from tests.support.tiny_bundle import reseal


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tiny_bundle.write(tmp_path / "copy")


def test_golden_mismatch_names_output_and_place(copy: Path) -> None:
    _, _, golden = tiny_bundle.build()
    golden["encoder/variance"][3, 1] += 1e-3
    (copy / "golden.npz").write_bytes(encode_golden(golden))
    reseal(copy)
    with pytest.raises(BundleError, match=r"encoder output 'variance' row 3 column 1 is .* expec"):
        PolicyBundle.load(copy)


def test_golden_tolerance_is_where_it_says(copy: Path) -> None:
    for shift, passes in ((0.5e-5, True), (2e-5, False)):
        _, _, golden = tiny_bundle.build()
        golden["policy/log_std"] += np.float32(shift)
        (copy / "golden.npz").write_bytes(encode_golden(golden))
        reseal(copy)
        if passes:
            assert PolicyBundle.load(copy).worst_error == pytest.approx(shift, rel=0.1)
        else:
            with pytest.raises(BundleError, match="'log_std'"):
                PolicyBundle.load(copy)


def _without(key: str) -> Callable[[dict], object]:
    return lambda golden: golden.pop(key)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("policy/mean"), "arrays are"),
        (lambda g: g.update({"other/x": np.zeros((5, 1))}), "arrays are"),
        (lambda g: g.update({"policy/mean": np.zeros((4, 3))}), r"\(4, 3\); expected \(rows, 3\)"),
        (lambda g: g.update({"policy/mean": np.zeros(3)}), r"\(3,\); expected"),
        (lambda g: g.update({k: v[:0] for k, v in g.items()}), "at least 1"),
        (lambda g: g["policy/mean"].__setitem__((0, 0), np.nan), "not finite"),
    ],
)
def test_malformed_golden_vectors(change: Callable[[dict], object], message: str) -> None:
    manifest, _, golden = tiny_bundle.build()
    change(golden)
    with pytest.raises(BundleError, match=message):
        decode_golden(encode_golden(golden), manifest.signatures(), "golden.npz")


def test_golden_arrays_are_neither_pickled_nor_over_allocated(tmp_path: Path) -> None:
    signatures = tiny_bundle.build()[0].signatures()
    with zipfile.ZipFile(tmp_path / "object.npz", "w") as archive:
        with archive.open("policy/mean.npy", "w") as member:
            np.lib.format.write_array(member, np.array([{}], dtype=object), allow_pickle=True)
    huge = b"\x93NUMPY\x01\x00v\x00" + (
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 1), }".ljust(117) + b"\n"
    )
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        archive.writestr("policy/mean.npy", huge + b"1234")
    for name in ("object.npz", "huge.npz"):
        with pytest.raises(BundleError, match="policy/mean"):
            decode_golden((tmp_path / name).read_bytes(), signatures, name)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((5, 3)), "float64; expected float32"),
        (np.zeros((5, 3), ">f4"), ">f4; expected float32"),
        (np.zeros((5, 3), np.float32, order="F"), "float32 in Fortran order"),
    ],
)
def test_golden_arrays_are_plain_float32(tmp_path: Path, array: np.ndarray, message: str) -> None:
    path = tmp_path / "golden.npz"
    np.savez(path, mean=array)
    with pytest.raises(BundleError, match=f"'mean': {message}"):
        adapt.bundle.archive.decode_arrays(path.read_bytes(), "golden.npz")


def test_golden_bytes_depend_on_the_numbers_alone() -> None:
    golden = tiny_bundle.build()[2]
    assert encode_golden(golden) == encode_golden(dict(reversed(golden.items())))
