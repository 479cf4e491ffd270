"""What travels between a bridge and its peers: frames, messages, the handshake."""
