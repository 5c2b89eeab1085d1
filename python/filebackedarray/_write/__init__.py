"""Writing arrays to HDF5 files, whole or not at all."""
