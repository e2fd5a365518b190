"""From the bytes of an untrusted file to the few pixels the model samples."""
