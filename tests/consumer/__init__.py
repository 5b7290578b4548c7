"""A consumer of shopsdk: a module of its own and its tests, which run where only the wheel is installed."""
