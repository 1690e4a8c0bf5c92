"""What an evaluation says, as one HTML page or as Markdown; and what is in a router."""

from avengers_pro.evaluation.report.cases import Cases, find_cases
from avengers_pro.evaluation.report.markdown import markdown_report
from avengers_pro.evaluation.report.page import html_report
from avengers_pro.evaluation.report.router_report import router_chart, router_html, router_markdown

__all__ = ["Cases", "find_cases", "html_report", "markdown_report", "router_chart", "router_html", "router_markdown"]
