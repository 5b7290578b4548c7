"""Every row of a paginated list, once, in order. Knows no HTTP."""
