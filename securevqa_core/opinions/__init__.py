"""What people think of 3,165 real uploads, and VIDEVAL's features of them: to learn from, to measure by."""
