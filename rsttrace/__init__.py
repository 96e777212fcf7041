"""rsttrace: explain every TCP reset on this Linux host."""

__version__ = "0.1.0"
