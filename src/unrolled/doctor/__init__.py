"""What runs on this machine, and whether it computes what it should: ``unrolled doctor``."""
