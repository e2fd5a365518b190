"""Training: labelled pixels in, a checkpoint out."""
