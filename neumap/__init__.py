"""Camera localization in a neural map. See README.md."""

# of both packages: pyproject.toml reads it here, package.xml and CHANGELOG.rst say the same
__version__ = "0.1.0"
