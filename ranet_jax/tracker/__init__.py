"""Trackers: state in, state out, one compiled step; `stream` is the host side around them."""
