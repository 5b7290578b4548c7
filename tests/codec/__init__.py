"""Bytes to models."""
