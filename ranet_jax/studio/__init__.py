"""Marking, tracking and correcting objects in the browser: `ranet-jax studio` (extra `studio`)."""
