"""Whether a gateway's traffic and pool are still what its router was trained on."""

from avengers_pro.learning.drift.finding import Finding, Measurement
from avengers_pro.learning.drift.report import Report, find_drift

__all__ = ["Finding", "Measurement", "Report", "find_drift"]
