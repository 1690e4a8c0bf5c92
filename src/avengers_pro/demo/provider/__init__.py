"""A simulated provider: an OpenAI-compatible server whose answers are made up and whose faults are switched.

It stands in for real providers where requests must really travel, yet nothing may be spent: in the demo and in the
tests of the gateway. What it answers says so: ``[simulated answer of ...]``.
"""

from avengers_pro.demo.provider.app import create_provider
from avengers_pro.demo.provider.faults import Fault
from avengers_pro.demo.provider.pace import Speed
from avengers_pro.demo.provider.serving import serving

__all__ = ["Fault", "Speed", "create_provider", "serving"]
