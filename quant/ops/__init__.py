"""Every kind of op, one row each: meaning in float and in integers, ranges, cost."""
