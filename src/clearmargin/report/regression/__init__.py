"""The report of a regression: rows of a table, a number to be predicted."""
