"""Decentralized training: agents keep their own data and weights and exchange with neighbours only."""
