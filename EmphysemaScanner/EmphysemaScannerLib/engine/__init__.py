"""Training, reports and the command line, built on ``core``."""
