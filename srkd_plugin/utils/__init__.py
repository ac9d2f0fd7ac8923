"""Helpers that know images and files, but no models."""
