"""Files in and out: masks, videos, overlays. Knows nothing of models."""
