"""How fast, against what: ``python -m benchmarks`` prints the whole table; each module runs alone, too."""
