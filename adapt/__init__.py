"""The robot's runtime: bundles, inference and adaptation on numpy and onnxruntime alone."""

import os

# onnxruntime reads this once, when it is imported. Without it, onnxruntime 1.31 writes a device
# number and its use into the home folder and sends them to a host of its maker. Every module of
# ours that imports onnxruntime stands in this package or imports it first, and child processes
# inherit the variable.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
