"""Owns labelled data sets made from real footage: sources, distortions, labels."""
