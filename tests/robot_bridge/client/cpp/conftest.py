"""The C++ programs under test, built once."""

import pytest

from tests.support.client import cpp_client


@pytest.fixture(scope="session")
def probe(tmp_path_factory):
    return cpp_client.build("check/probe.cpp", tmp_path_factory.mktemp("cpp"), sanitized=True)


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    return cpp_client.build("example/toy_robot.cpp", tmp_path_factory.mktemp("cpp"))
