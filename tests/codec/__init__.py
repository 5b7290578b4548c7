"""Tests of the decoding of JSON to models, and of the encoding."""
