"""Recordings played to a session on virtual time."""
