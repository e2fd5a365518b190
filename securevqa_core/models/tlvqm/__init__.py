"""TLVQM: statistics of motion in every second frame, of pictures in one frame a second, and a regression."""
