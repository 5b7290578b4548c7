"""Tests of the built archives, of the fixtures for users and of the types."""
