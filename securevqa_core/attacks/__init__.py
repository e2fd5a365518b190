"""The attack lab: what an attacker can do to a score, and what it costs."""
