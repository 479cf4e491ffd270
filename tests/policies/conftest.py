"""What tests of several packages in policies share."""

from __future__ import annotations

import pytest

from policies.algorithms.registry import GROUP


@pytest.fixture
def installed(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a package had been installed that names the algorithm as its entry point."""
    package = tmp_path_factory.mktemp("site") / "random_search-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: random_search\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(
        f"[{GROUP}]\n"
        "random_search = tests.support.random_search:ALGORITHM\n"
        "pearl = tests.support.random_search:ALGORITHM\n"
        "absent = no_such_package:ALGORITHM\n"
        "misnamed = tests.support.random_search:GONE\n"
        "settings = tests.support.random_search:SearchSettings\n"
    )
    monkeypatch.syspath_prepend(str(package.parent))
