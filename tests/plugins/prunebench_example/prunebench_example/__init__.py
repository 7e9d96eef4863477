"""Methods and claims that prunebench finds by entry point."""
