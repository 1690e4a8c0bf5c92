"""Learning from a gateway's traffic: the ledger as columns, a router brought up to date, two compared, drift found."""

from avengers_pro.learning.compare import Comparison, compare_on_records
from avengers_pro.learning.compare_traffic import TrafficComparison, compare_on_traffic
from avengers_pro.learning.drift import Finding, Measurement, Report, find_drift
from avengers_pro.learning.learn import HalfLife, Mark, learn
from avengers_pro.learning.learnt import FrontierPoint, Learnt, ModelLesson
from avengers_pro.learning.redecide import Candidate
from avengers_pro.learning.switch import Change, unmet
from avengers_pro.learning.traffic import Traffic, read_traffic

__all__ = [
    "Candidate",
    "Change",
    "Comparison",
    "Finding",
    "FrontierPoint",
    "HalfLife",
    "Learnt",
    "Mark",
    "Measurement",
    "ModelLesson",
    "Report",
    "Traffic",
    "TrafficComparison",
    "compare_on_records",
    "compare_on_traffic",
    "find_drift",
    "learn",
    "read_traffic",
    "unmet",
]
