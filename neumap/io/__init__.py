"""From folders, models, bags and messages to frames, calibrations and poses, and files that are written whole."""
