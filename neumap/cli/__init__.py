"""The `neumap` command: one module per verb."""
