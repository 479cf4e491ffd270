"""The insertion family: plugs, sockets, the wrist rig and the arm."""
