"""Settings of all tests."""

from hypothesis import settings

# The same examples on every run, and no verdict on speed: what fails, fails everywhere and again.
# `pytest --hypothesis-profile=default` draws new ones.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")
