"""Frozen values that describe a run, what it shares with other runs, and what its sessions reported. No I/O."""
