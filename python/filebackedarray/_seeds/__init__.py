"""What the seeds of all kinds of arrays share."""
