"""The wire protocol: frames, messages, the handshake, times."""
