"""The bridge daemon: its loop, its peers, its operators."""
