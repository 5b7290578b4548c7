"""One request's way: from a checked value to an answer, through limits, attempts and retries."""
