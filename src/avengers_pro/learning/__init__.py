"""Learning from a gateway's traffic: the ledger as columns, and the router brought up to date."""

from avengers_pro.learning.learn import HalfLife, Mark, learn
from avengers_pro.learning.learnt import FrontierPoint, Learnt, ModelLesson
from avengers_pro.learning.traffic import Traffic, read_traffic

__all__ = ["FrontierPoint", "HalfLife", "Learnt", "Mark", "ModelLesson", "Traffic", "learn", "read_traffic"]
