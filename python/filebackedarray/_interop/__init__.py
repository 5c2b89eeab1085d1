"""Other packages: their generics, and their objects made of ours."""
