"""The mixers beside S3."""
