"""The robot's runtime: bundles, inference and adaptation on numpy and onnxruntime alone."""
