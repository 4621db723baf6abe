"""Separate processes that grade answers, so that expensive or hostile answers cannot harm training."""
