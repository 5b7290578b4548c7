"""Tests of the promises of SECURITY.md."""
