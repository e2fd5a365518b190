"""Building a data set from footage."""
