"""Plugs beyond the first families: described in files, named by a published table, procedural."""
