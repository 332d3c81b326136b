"""The stages of a scan, one public function and its frozen result each.

unlearn, recover, triggers, target_label, verdict, removal (prune and repair), samples, attribution.
"""
