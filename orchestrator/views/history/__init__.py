"""The history of a run as one document of plain values, from which pages are drawn. Pure."""
