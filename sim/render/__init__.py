"""Pictures and films."""

from adapt import caches as caches
