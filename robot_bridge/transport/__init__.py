"""Sockets, keys and connections: who may connect, and how frames travel."""
