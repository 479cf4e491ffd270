"""Caches of libraries that draw: in a folder of this user's own below the temporary one, not in the
home folder. Import before matplotlib, and before an off-screen context is opened."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from adapt.errors import PrivacyError
from adapt.private import make_folder


def _folder() -> Path:
    """One for all processes of this user, which others cannot write to: Mesa runs what it finds
    there. Where another user has taken its name, a new one."""
    folder = Path(tempfile.gettempdir()).resolve() / f"acclimate-{os.geteuid()}"
    try:
        make_folder(folder)
    except PrivacyError:
        return Path(tempfile.mkdtemp(prefix="acclimate-"))
    return folder


if not {"MPLCONFIGDIR", "MESA_SHADER_CACHE_DIR"} <= set(os.environ):
    _made = _folder()
    os.environ.setdefault("MPLCONFIGDIR", str(_made / "matplotlib"))
    os.environ.setdefault("MESA_SHADER_CACHE_DIR", str(_made))
