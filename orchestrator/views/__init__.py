"""Presentation of state to people and programs: text, JSON, live views and HTML pages."""
