"""A consumer's conftest: one line makes the fixtures available."""

pytest_plugins = ["shopsdk.testing"]
