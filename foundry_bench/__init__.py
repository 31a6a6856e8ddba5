"""foundry-bench: compare compression methods for 3D point-cloud foundation models on equal terms."""

__version__ = "0.1.0"
