"""Reads frames, calibrations and poses from folders, models, bags and messages; writes files atomically."""
