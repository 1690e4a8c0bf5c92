"""Ranges of settings: what a number in ``gateway.toml`` may be."""

from typing import Annotated

from msgspec import Meta

Seconds = Annotated[float, Meta(gt=0, le=31_536_000)]
SecondsFromZero = Annotated[float, Meta(ge=0, le=31_536_000)]
Count = Annotated[int, Meta(ge=1, le=2**53)]
Share = Annotated[float, Meta(gt=0, le=1)]
