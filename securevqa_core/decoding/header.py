"""Owns what a container's headers order a player to do to a picture, where FFmpeg does not hand it on."""

from __future__ import annotations

from dataclasses import dataclass

from securevqa_core.errors import DecodeError

__all__ = ["MISPLACED", "NOT_UNDERSTOOD", "NO_CROP", "Crop", "Header", "dolby_vision", "not_understood"]

NOT_UNDERSTOOD = "display_not_understood"  # the code of the error
MISPLACED = "headers that are not where they belong"  # FFmpeg may read there what is not read here
_IPT_PROFILE = 5  # of Dolby Vision: its base layer is not Y'CbCr


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """Pixels to cut off a decoded picture."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0


NO_CROP = Crop()


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The container's own part of the display transform."""

    crop: Crop = NO_CROP
    is_heif: bool = False  # what is shown is an item of a still picture's file
    transfer: int = 0  # of its colours (ITU-T H.273, table 3); 0 and 2 where it does not say
    not_understood: tuple[str, ...] = ()  # what it orders besides, a phrase each


def not_understood(what: str) -> DecodeError:
    """Return the error for what a player shows otherwise than it can be shown here."""
    return DecodeError(NOT_UNDERSTOOD, f"what a viewer sees is not known: {what}")


def dolby_vision(record: bytes) -> str | None:
    """Say what cannot be shown of a Dolby Vision configuration record; None where its base layer can.

    The record is what dvcC, dvvC and dvwC boxes hold. Compatibility id 0 says that without a Dolby Vision
    decoder there is no picture that anyone graded.
    """
    if len(record) < 4:
        return "a Dolby Vision record that is cut short"
    profile = record[2] >> 1
    compatibility = record[4] >> 4 if len(record) > 4 else 0
    if profile == _IPT_PROFILE or not compatibility:
        return f"Dolby Vision profile {profile} with compatibility id {compatibility}"
    return None
