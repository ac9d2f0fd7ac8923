"""Helpers that know files, names, weights and Markdown, but nothing of images, networks or training."""
