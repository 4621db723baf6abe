"""What every other package needs: errors, the clock, the disk, the terminal, how durations are written."""
