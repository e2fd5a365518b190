"""The attack lab: settings, runs and suites of attacks, their tables and pictures."""
