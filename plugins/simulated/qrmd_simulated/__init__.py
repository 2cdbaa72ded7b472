"""Simulated hosts and machines."""
