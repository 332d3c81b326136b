"""Evaluation against true triggers. It only reports: nothing in a scan imports it."""
