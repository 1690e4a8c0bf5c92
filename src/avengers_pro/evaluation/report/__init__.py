"""What an evaluation says, as one HTML page or as Markdown."""

from avengers_pro.evaluation.report.markdown import markdown_report
from avengers_pro.evaluation.report.page import html_report

__all__ = ["html_report", "markdown_report"]
