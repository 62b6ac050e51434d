"""What the project measures of itself: `python -m eval.benchmarks`."""
