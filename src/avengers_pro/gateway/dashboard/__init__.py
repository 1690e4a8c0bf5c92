"""The dashboard of the gateway: what it costs, what it saves, and why each decision was made. Pages for people."""

from avengers_pro.gateway.dashboard.routes import dashboard_routes

__all__ = ["dashboard_routes"]
