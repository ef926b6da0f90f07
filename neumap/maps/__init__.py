"""The map in memory and in a file."""
