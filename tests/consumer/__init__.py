"""A consumer of shopsdk: a module of its own and the tests of it, which run where only the wheel is installed."""
