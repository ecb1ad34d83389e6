"""Fits to measured data."""
