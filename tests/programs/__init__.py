"""Programs to start from: each is one file, and runs against ``shopsdk sandbox`` without an account."""
