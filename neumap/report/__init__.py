"""Evaluation, figures and summaries for people."""
