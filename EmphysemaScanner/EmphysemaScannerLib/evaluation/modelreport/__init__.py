"""A report on a model: what it says of simulated and real CTs, what changes its answer, and which overlay to trust."""
