"""Camera localization in a neural map. See README.md."""
