"""Trainers whose workers exchange with neighbours only."""
