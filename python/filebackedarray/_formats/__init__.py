"""Others' file formats: what tells them, what is in them, and how they are opened."""
