"""Real proxies and caches in front of a shop."""
