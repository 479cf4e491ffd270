"""JSON from outside: a key twice is refused wherever it stands."""

from typing import Any

import msgspec
import pytest

from adapt.bundle.policy_bundle import PolicyBundle
from adapt.errors import BundleError
from adapt.strict_json import parse
from tests.support import tiny_bundle


@pytest.mark.parametrize("text", ['{"a":1,"a":1}', '[{"x":{"a":1,"b":2,"a":3}}]'])
def test_a_key_given_twice_is_refused_by_name(text):
    with pytest.raises(ValueError, match="key 'a' is given twice in one object"):
        parse(text.encode(), object)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'{"a":NaN}', b"[" * 100_000, b'{"a":1e999}'])
def test_what_is_no_json_is_a_value_error(data):
    with pytest.raises(ValueError):
        parse(data, object)


def test_the_value_is_as_msgspec_reads_it():
    data = b'{"a":[1,2.5,"\\u00e9"],"b":null}'
    assert parse(data, dict[str, Any]) == msgspec.json.decode(data)


def test_a_manifest_with_a_key_twice_is_refused(tmp_path):
    path = tiny_bundle.write(tmp_path / "b") / "manifest.json"
    text = path.read_text()
    path.write_text(text.replace('"hold": 0', '"hold": 7, "hold": 0'))
    with pytest.raises(BundleError, match=r"manifest\.json: key 'hold' is given twice"):
        PolicyBundle.load(path.parent)
