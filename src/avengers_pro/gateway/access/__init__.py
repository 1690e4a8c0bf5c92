"""API keys, and what each may do and spend."""

from avengers_pro.gateway.access.access import Access
from avengers_pro.gateway.access.account import Grant
from avengers_pro.gateway.access.binding import check_binding
from avengers_pro.gateway.access.bounds import Bounded, bounded
from avengers_pro.gateway.access.denied import AccessDenied
from avengers_pro.gateway.access.keys import KeyInfo, Keys
from avengers_pro.gateway.access.limits import ANONYMOUS, Caller, Limits
from avengers_pro.gateway.access.secret import Secret
from avengers_pro.gateway.access.session_secret import read_session_secret

__all__ = [
    "ANONYMOUS",
    "Access",
    "AccessDenied",
    "Bounded",
    "Caller",
    "Grant",
    "KeyInfo",
    "Keys",
    "Limits",
    "Secret",
    "bounded",
    "check_binding",
    "read_session_secret",
]
