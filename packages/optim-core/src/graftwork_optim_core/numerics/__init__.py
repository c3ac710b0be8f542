"""Number formats and matrix iterations that update hosts share."""
