"""How fast a simulated model answers."""

import math
from dataclasses import dataclass

from avengers_pro.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Time to first token and speed after it. Only visible tokens take time; hidden reasoning takes none.

    Attributes:
        first_token_s: Seconds from the request to the first byte of the answer, at least 0.
        tokens_per_s: Tokens per second after that, more than 0; infinite = at once.
    """

    first_token_s: float = 0.0
    tokens_per_s: float = math.inf

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        if not 0 <= self.first_token_s < math.inf:
            raise SettingsError(f"speed: first_token_s is {self.first_token_s}; seconds are needed, at least 0")
        if not self.tokens_per_s > 0:
            raise SettingsError(f"speed: tokens_per_s is {self.tokens_per_s}; it must be more than 0")

    def due_s(self, tokens: int) -> float:
        """Return the seconds from the request until so many tokens are out."""
        return self.first_token_s + tokens / self.tokens_per_s
