"""The second ring: everything against the running kernel. Needs root."""
