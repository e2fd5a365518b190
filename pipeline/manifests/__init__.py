"""Manifests, listings and labels: which videos there are, and what is known of them."""
