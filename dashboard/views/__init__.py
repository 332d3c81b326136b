"""What pages are made of: each function draws one thing from the values that it is given."""
