"""The lungs in a CT: their mask, what of them is missing, their densitometry, and the image quality warnings."""

RIGHT, LEFT = 1, 2
"""The labels of the patient's two lungs in a lung mask, where 0 is outside."""
