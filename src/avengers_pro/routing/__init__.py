"""Learn and decide: clusters, profile, policy, router; the published methods and simple baselines."""

from avengers_pro.routing.decision import Candidate, Decision
from avengers_pro.routing.method import Estimate, FittedMethod, Method
from avengers_pro.routing.methods import BASELINES, DEFAULT_METHOD, ROUTERS, build_method
from avengers_pro.routing.policy import Policy
from avengers_pro.routing.router import Router

__all__ = [
    "BASELINES",
    "DEFAULT_METHOD",
    "ROUTERS",
    "Candidate",
    "Decision",
    "Estimate",
    "FittedMethod",
    "Method",
    "Policy",
    "Router",
    "build_method",
]
