"""A scoring run: its settings, its pipeline on Ray Data, and what is shown while it goes on."""
