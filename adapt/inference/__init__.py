"""onnxruntime sessions and the buffers that are bound to them."""
