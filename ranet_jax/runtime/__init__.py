"""The host side of tracking: threads around the compiled step, files in and out, portable programs."""
