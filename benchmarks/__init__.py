"""Benchmarks against other clients: ``python -m benchmarks`` prints the whole table; each module runs alone, too."""
