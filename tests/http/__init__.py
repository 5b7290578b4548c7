"""Tests of requests, answers, waits and the life of a session."""
