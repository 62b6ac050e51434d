"""Programs that measure, run from a checkout: `python -m eval.davis`, `eval.curves`, `eval.benchmarks`."""
