"""Tests of the walk over pages."""
