"""The frozen network and its weights."""
