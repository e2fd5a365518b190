"""Comparing finished runs with labels."""
