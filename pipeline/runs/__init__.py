"""Run directories: their layout, their lock, their rows, their report, and finished ones among themselves."""
