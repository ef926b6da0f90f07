"""The running localizer: what to believe of a stream of poses."""
