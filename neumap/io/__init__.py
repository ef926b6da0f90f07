"""From folders, COLMAP models and trajectories to frames, and from results to figures."""
