"""The version, in its one place: the build reads it here, and so does the User-Agent header."""

__version__ = "1.0.0rc1"
"""The version of shopsdk, by Semantic Versioning."""
