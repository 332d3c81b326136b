"""Thin page scripts: read state, call a view."""
