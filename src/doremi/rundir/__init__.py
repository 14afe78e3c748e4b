"""The run directory: where things lie and what a run consists of."""
