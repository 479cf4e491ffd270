"""Former path of `adapt.bundle.manifest`, valid for one release."""

from adapt.bundle.manifest import *  # noqa: F403
