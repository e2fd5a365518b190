"""VIDEVAL: sixty statistics of whole frames, gathered from five measures of quality, and a regression."""
