"""The gate: a policy, its conditions, the decision on every row, and the lists it leaves."""
