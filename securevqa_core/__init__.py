"""Models, sampling, defences and decoding; imports neither operators nor pipeline, and never ray."""
