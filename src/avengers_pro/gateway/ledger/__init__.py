"""The durable ledger of the gateway: every decision, what it cost, and what it saved."""

from avengers_pro.gateway.ledger.ledger import Ledger
from avengers_pro.gateway.ledger.rows import Closing, Filter, Opening, Stats, Totals
from avengers_pro.gateway.ledger.schema import upgrade

__all__ = ["Closing", "Filter", "Ledger", "Opening", "Stats", "Totals", "upgrade"]
