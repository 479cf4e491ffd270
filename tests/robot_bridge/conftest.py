"""A small bundle for the tests of the bridge."""

from pathlib import Path

import pytest

from adapt.bundle.policy_bundle import PolicyBundle
from tests.support import tiny_bundle


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle.write(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def bundle(tiny_folder: Path) -> PolicyBundle:
    return PolicyBundle.load(tiny_folder)
