"""Processes in which hard and hostile answers are judged, so that whatever happens to them happens there."""
