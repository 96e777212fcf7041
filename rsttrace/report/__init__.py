"""One report out of many explained resets: ``rsttrace diagnose``. Pure but for nothing."""
