"""``python -m shopsdk`` is the command ``shopsdk``."""

from shopsdk.cli import main

if __name__ == "__main__":
    main()
