"""Rigid motions and calibrated cameras."""
