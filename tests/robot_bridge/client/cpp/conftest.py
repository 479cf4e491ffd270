"""The C++ programs under test, built once, and the bundle that they are given."""

import pytest

from adapt.bundle.policy_bundle import PolicyBundle
from tests.support import tiny_bundle
from tests.support.client import cpp_client


@pytest.fixture(scope="session")
def probe(tmp_path_factory):
    return cpp_client.build("check/probe.cpp", tmp_path_factory.mktemp("cpp"), sanitized=True)


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    return cpp_client.build("example/toy_robot.cpp", tmp_path_factory.mktemp("cpp"))


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tiny_bundle.write(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def bundle(folder):
    return PolicyBundle.load(folder)
