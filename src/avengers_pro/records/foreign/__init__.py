"""Other people's evaluation results as records: one module per format, joined and counted alike."""

from avengers_pro.records.foreign.convert import Conversion, convert
from avengers_pro.records.foreign.options import Options
from avengers_pro.records.foreign.pricing import Price, Unpriced, fill_costs, unpriced
from avengers_pro.records.foreign.sniff import FORMATS
from avengers_pro.records.foreign.tally import Note

__all__ = ["FORMATS", "Conversion", "Note", "Options", "Price", "Unpriced", "convert", "fill_costs", "unpriced"]
