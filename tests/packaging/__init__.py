"""What is built, and what type checkers make of it."""
