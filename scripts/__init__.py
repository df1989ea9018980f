"""Thin mains that users run on their own models and machines: tuning, and the report."""
