"""A consumer's own: all that it takes to have the fixtures."""

pytest_plugins = ["shopsdk.testing"]
