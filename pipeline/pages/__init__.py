"""The page that shows a report, and what stands in it."""
