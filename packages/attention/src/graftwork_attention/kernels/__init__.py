"""Fused kernels: each beside its reference in plain torch, with a file that registers it and picks one."""
