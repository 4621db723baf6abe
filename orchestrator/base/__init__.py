"""Shared basics for every other package: errors, clock, disk, terminal, duration formatting."""
