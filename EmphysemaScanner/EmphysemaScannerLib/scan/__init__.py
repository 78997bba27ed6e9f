"""One CT through one model: the only place that knows the whole way, and the result that everybody reads."""
