"""What people see: the figures and one offline HTML file."""

from clearmargin.report.page import write_report

__all__ = ["write_report"]
