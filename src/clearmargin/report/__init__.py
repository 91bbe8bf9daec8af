"""What people see: the figures and one offline HTML file."""

from clearmargin.report.audit_page import write_audit_page
from clearmargin.report.page import write_report

__all__ = ["write_audit_page", "write_report"]
