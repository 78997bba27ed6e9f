"""The networks, what they read, and the model files with their cards."""
