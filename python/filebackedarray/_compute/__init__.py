"""Trees of delayed operations: how they are evaluated, summed up, multiplied, and indexed."""
