"""RANet and MRNet: semi-supervised video object segmentation in JAX and Flax."""

__version__ = "0.1.0"
