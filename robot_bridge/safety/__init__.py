"""The rules that bound motion: the client's state machine, limits, deadlines, stops."""
