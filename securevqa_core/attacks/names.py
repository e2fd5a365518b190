"""Owns what attacks and defences are called: what help lists, without what they are made of."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["ATTACKS", "DEFENCES", "AttackName", "Direction"]

AttackName = Literal[
    "none",  # the video as it is
    "pgd",  # gradients
    "apgd",
    "patch",
    "universal",
    "square",  # queries
    "nes",
    "patches",
    "reroll",
    "noise",  # filters
    "sharpen",
    "blur",
    "contrast",
    "local-contrast",
    "saturate",
    "gamma",
    "flicker",
    "drop",  # edits in time
    "repeat",
    "reorder",
    "fast",
    "slow",
]
Direction = Literal["inflate", "deflate", "boundary"]
ATTACKS: tuple[AttackName, ...] = get_args(AttackName)

# name -> what its value is; a name in brackets takes none
DEFENCES = {
    "grid": "random, or fixed: the same frames and patches for every video",
    "splice": "patches a side, 1..32: whole frames become that many random patches of 32 pixels, spliced",
    "guardian": "amplitude of the guardian map, 0..127 levels; 0 is none",
    "cells": "side in pixels, 1..64, of the squares that share a sign of the guardian map",
    "temporal": "on, or off: the head gets the features of average motion",
    "resize": "factor that frames are shrunk by and enlarged again, 1..16",
    "jpeg": "quality that frames are encoded with, 1..100",
    "h264": "constant rate factor that the video is encoded with, 0..51",
    "delivered": "CODEC:QUALITY of the rendition that is judged, as of score --as-delivered: x264:23, say",
    "cap": "CODEC:QUALITY of the rendition that holds the score, as of score --cap: x264:28, say",
    "noise": "standard deviation of Gaussian noise on every value, 0..255 levels",
    "median": "no value: draws are pooled by their median, not their mean",
}
