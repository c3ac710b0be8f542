"""S3Attention: smoothing, then skeleton attention (arXiv:2408.08567)."""
