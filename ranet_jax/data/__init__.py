"""Readers of the data sets' published folder layouts."""
