"""Who vouched for a bundle: only what was signed, by those who were named, is served."""

import shutil
from pathlib import Path

import msgspec
import pytest
from nacl.signing import SigningKey

from adapt.bundle.cli import main
from adapt.bundle.policy_bundle import PolicyBundle, pack, sign_bundle
from adapt.bundle.signature import DOMAIN, SIGNATURES, Signers, make_signer
from adapt.errors import BundleError, PrivacyError, SignerError
from tests.support import tiny_bundle


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    make_signer(folder, "lab")
    make_signer(folder, "other")
    return folder


@pytest.fixture(scope="module")
def unsigned(tmp_path_factory):
    return tiny_bundle.write(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(params=["folder", "zip"])
def bundle(request, unsigned, tmp_path):
    if request.param == "folder":
        return Path(shutil.copytree(unsigned, tmp_path / "copy"))
    pack(unsigned, tmp_path / "copy.zip")
    return tmp_path / "copy.zip"


def public(keys, name):
    return msgspec.toml.decode((keys / f"{name}.signer.pub").read_bytes())["public"]


def load(bundle, keys, *names):
    return PolicyBundle.load(
        bundle, signers=Signers.read([str(keys / f"{name}.signer.pub") for name in names])
    )


def test_a_signed_bundle_loads_and_says_who_vouches(bundle, keys):
    before = PolicyBundle.load(bundle).digest
    assert sign_bundle(bundle, keys / "lab.signer") == before
    signed = load(bundle, keys, "lab", "other")
    assert (signed.signer, signed.digest) == ("lab", before)
    # Who asks for no signature is not disturbed by one.
    assert PolicyBundle.load(bundle).signer == ""
    sign_bundle(bundle, keys / "other.signer")
    assert load(bundle, keys, "lab", "other").signer == "lab, other"
    assert load(bundle, keys, "other").signer == "other"


def test_what_is_signed_is_the_domain_and_the_manifest(unsigned, keys, tmp_path):
    copy = Path(shutil.copytree(unsigned, tmp_path / "copy"))
    sign_bundle(copy, keys / "lab.signer")
    word, found, signature = (copy / SIGNATURES).read_text().split()
    assert (word, found) == ("ed25519", public(keys, "lab"))
    message = DOMAIN + (copy / "manifest.json").read_bytes()
    key = SigningKey(
        bytes.fromhex(msgspec.toml.decode((keys / "lab.signer").read_bytes())["secret"])
    )
    assert key.sign(message).signature.hex() == signature


def test_refusals_name_what_is_wrong(bundle, keys):
    with pytest.raises(BundleError, match="not signed; expected lab, other"):
        load(bundle, keys, "lab", "other")
    sign_bundle(bundle, keys / "other.signer")
    with pytest.raises(BundleError, match=f"unknown key {public(keys, 'other')[:16]}; expected"):
        load(bundle, keys, "lab")
    with pytest.raises(BundleError, match="signed by 'other' already"):
        sign_bundle(bundle, keys / "other.signer")


def test_a_changed_manifest_is_refused_though_every_digest_fits(unsigned, keys, tmp_path):
    copy = Path(shutil.copytree(unsigned, tmp_path / "copy"))
    sign_bundle(copy, keys / "lab.signer")
    manifest = copy / "manifest.json"
    # A space harms neither schema nor digests.
    manifest.write_bytes(manifest.read_bytes() + b" ")
    PolicyBundle.load(copy)
    with pytest.raises(BundleError, match="forged or changed: the signature of 'lab'"):
        load(copy, keys, "lab")


@pytest.mark.parametrize("name", ["policy.onnx", "golden.npz", "encoder.onnx"])
def test_a_signature_covers_every_other_file_through_its_digest(unsigned, keys, tmp_path, name):
    copy = Path(shutil.copytree(unsigned, tmp_path / "copy"))
    sign_bundle(copy, keys / "lab.signer")
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"{name} was changed"):
        load(copy, keys, "lab")


def test_a_signature_of_another_bundle_or_purpose_is_none(unsigned, keys, tmp_path):
    copy = Path(shutil.copytree(unsigned, tmp_path / "copy"))
    other = tiny_bundle.write(tmp_path / "other", seed=1)
    sign_bundle(other, keys / "lab.signer")
    shutil.copy(other / SIGNATURES, copy)
    with pytest.raises(BundleError, match="forged or changed"):
        load(copy, keys, "lab")
    key = SigningKey.generate()
    bare = key.sign((copy / "manifest.json").read_bytes()).signature.hex()
    number = key.verify_key.encode().hex()
    (copy / SIGNATURES).write_text(f"ed25519 {number} {bare}\n")
    with pytest.raises(BundleError, match="forged or changed"):
        PolicyBundle.load(copy, signers=Signers.read([number]))


def test_a_forged_signature_beside_a_good_one_is_refused(unsigned, keys, tmp_path):
    copy = Path(shutil.copytree(unsigned, tmp_path / "copy"))
    sign_bundle(copy, keys / "lab.signer")
    good = (copy / SIGNATURES).read_text()
    (copy / SIGNATURES).write_text(good + f"ed25519 {public(keys, 'other')} {'0' * 128}\n")
    with pytest.raises(BundleError, match="the signature of 'other'"):
        load(copy, keys, "lab", "other")
    assert load(copy, keys, "lab").signer == "lab"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"ed25519",
        b"ed25519 00 00\n",
        b"\xff\xfe\n",
        b"ed25519 " + b"a" * 64 + b" " + b"0" * 128,
        (b"ed25519 " + b"a" * 64 + b" " + b"0" * 128 + b"\n") * 2,
        b"x\n" * 1000,
        b"ED25519 " + b"a" * 64 + b" " + b"0" * 128 + b"\n",
    ],
)
def test_a_signature_file_that_cannot_be_read_is_refused(unsigned, keys, tmp_path, data):
    copy = Path(shutil.copytree(unsigned, tmp_path / "copy"))
    (copy / SIGNATURES).write_bytes(data)
    with pytest.raises(BundleError, match=r"manifest\.sig: "):
        load(copy, keys, "lab")


def test_signing_a_bundle_that_is_not_intact_is_refused(unsigned, keys, tmp_path):
    copy = Path(shutil.copytree(unsigned, tmp_path / "copy"))
    (copy / "policy.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match=r"policy\.onnx was changed"):
        sign_bundle(copy, keys / "lab.signer")
    assert not (copy / SIGNATURES).exists()


def test_a_signers_secret_is_private_and_never_overwritten(keys, tmp_path):
    assert (keys / "lab.signer").stat().st_mode & 0o777 == 0o600
    with pytest.raises(PrivacyError, match="never overwritten"):
        make_signer(keys, "lab")
    with pytest.raises(SignerError, match=r"'\.\./lab': letters"):
        make_signer(tmp_path, "../lab")
    shutil.copy(keys / "lab.signer", tmp_path / "loose.signer")
    (tmp_path / "loose.signer").chmod(0o640)
    bundle = tiny_bundle.write(tmp_path / "tiny")
    with pytest.raises(PrivacyError, match="mode 0640 lets others in; chmod 600"):
        sign_bundle(bundle, tmp_path / "loose.signer")


@pytest.mark.parametrize("entry", ["abc", "A" * 64, "/nowhere/lab.signer.pub"])
def test_signers_that_are_neither_a_key_nor_a_file(entry):
    with pytest.raises(SignerError, match=r"expected 64 hexadecimal digits or a NAME\.signer\.pub"):
        Signers.read([entry])


@pytest.mark.parametrize("text", ["x = " + "9" * 5000, "x = " + "[" * 5000])
def test_a_signers_file_of_nonsense_is_named(tmp_path, text):
    path = tmp_path / "lab.signer.pub"
    path.write_text(text)
    with pytest.raises(SignerError, match=r"lab\.signer\.pub.*expected 64 hexadecimal digits"):
        Signers.read([str(path)])


def test_a_secret_given_as_a_public_key_is_refused(keys):
    with pytest.raises(SignerError, match=r"expected 64 hexadecimal digits or a NAME\.signer\.pub"):
        Signers.read([str(keys / "lab.signer")])


def test_the_command_signs_and_verifies(unsigned, keys, tmp_path, capsys):
    copy = Path(shutil.copytree(unsigned, tmp_path / "copy"))
    main(["sign", str(copy), "--key", str(keys / "lab.signer")])
    main(["verify", str(copy), "--key", public(keys, "lab")])
    assert f"signed by: {public(keys, 'lab')[:16]}" in capsys.readouterr().out
    with pytest.raises(BundleError, match="unknown key"):
        main(["verify", str(copy), "--key", public(keys, "other")])
    # Packing takes the signature along.
    main(["pack", str(copy), str(tmp_path / "copy.zip")])
    assert load(tmp_path / "copy.zip", keys, "lab").signer == "lab"
