"""What agents train: images spread unevenly, and problems of two levels."""
