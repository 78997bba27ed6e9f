"""The science: networks, preprocessing, scan, lung mask, densitometry, simulation, model files. No Slicer here."""
