"""A request's way and a session's life."""
