"""Builds one HTML page from figures and tables; all text from outside is escaped."""
