"""Measures of a segmentation against its ground truth, and the DAVIS protocol around them."""
