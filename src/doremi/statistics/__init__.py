"""The verdict's statistics: typed measurements in, typed claims out. Nothing here knows of run directories."""
