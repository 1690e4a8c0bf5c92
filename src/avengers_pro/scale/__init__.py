"""The same verbs on tables larger than one machine: fit and route over parts of a dataset, in process or on Ray."""

from avengers_pro.scale.engine import Engine, LocalEngine, opened
from avengers_pro.scale.fitting import DatasetFit, fit_dataset
from avengers_pro.scale.reading import ReadingChoice
from avengers_pro.scale.routing import Routed, SavedRouter, route_dataset

__all__ = [
    "DatasetFit",
    "Engine",
    "LocalEngine",
    "ReadingChoice",
    "Routed",
    "SavedRouter",
    "fit_dataset",
    "opened",
    "route_dataset",
]
