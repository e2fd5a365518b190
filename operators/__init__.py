"""The stages a row passes through on Ray Data, and the columns that cross them."""
