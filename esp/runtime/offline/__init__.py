"""Scoring files: rows read out of CSV, JSON, npy, npz or image files, scored as a stream would score them."""
