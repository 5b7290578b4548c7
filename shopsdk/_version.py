"""The version, in its one place: the build reads it here, and so does the User-Agent header."""

__version__ = "0.1.0"
"""The version of shopsdk, by Semantic Versioning."""
