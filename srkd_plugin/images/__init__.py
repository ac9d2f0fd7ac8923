"""Reading, listing and resizing images, in folders and LMDBs."""
