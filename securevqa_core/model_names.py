"""Owns what models are called: what a call is checked with, without what they are made of."""

from __future__ import annotations

from securevqa_core.errors import ConfigurationError, did_you_mean

__all__ = ["DEFAULT_MODEL", "MODELS", "require_model"]

DEFAULT_MODEL = "secure-vqa-compact"
MODELS = (  # in the order of the zoo's table
    "secure-vqa-compact",
    "secure-vqa-compact-concatenation",
    "secure-vqa-compact-guardian-2",
    "secure-vqa-compact-guardian-4",
    "secure-vqa-compact-guardian-8",
    "secure-vqa-compact-intra",
    "secure-vqa-scnn",
    "nss-svr",
    "secure-vqa",
    "secure-vqa-released",
    "fast-vqa",
    "fast-vqa-m",
    "faster-vqa",
    "dover",
    "vsfa",
    "mdtvsfa",
    "tivqa",
    "bvqa-2022",
    "vsfa-temporal",
    "hvs-5m",
    "vsfa-lite",
    "vsfa-scnn",
    "mdtvsfa-lite",
    "tivqa-lite",
    "vsfa-temporal-lite",
    "hvs-5m-lite",
    "videval",
    "videval-720p",
    "videval-480p",
    "uvq-1.5",
    "tlvqm",
)


def require_model(name: str) -> None:
    """Refuse a name that the zoo does not know.

    Raises:
        ConfigurationError: it does not; says the one that is most like it.
    """
    if name not in MODELS:
        hint = did_you_mean(name, MODELS)
        known = "what `securevqa models` lists" if hint else ", ".join(MODELS)
        raise ConfigurationError(f"model must be one of {known}, got {name!r}{hint}")
