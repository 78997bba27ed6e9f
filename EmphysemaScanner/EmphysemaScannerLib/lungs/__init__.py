"""The lungs in a CT: their mask, what of them is missing, their densitometry, and the image quality warnings."""
