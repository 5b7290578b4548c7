"""Bytes to attrs classes, and back."""
