"""Where an encoder runs: eager PyTorch, ONNX Runtime, ExecuTorch and those of plugins, and how they are timed in turns."""
