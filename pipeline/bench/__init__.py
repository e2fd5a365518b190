"""Owns the measurements that run commands and models side by side: their tables are `securevqa bench`'s."""
