"""What people look at: tables, notebooks, progress. Imports nothing else of the package."""
