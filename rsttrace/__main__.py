"""``python -m rsttrace``."""

from rsttrace.cli import main

main()
