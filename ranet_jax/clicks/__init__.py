"""Masks of objects from clicks on them, or from boxes around them."""
