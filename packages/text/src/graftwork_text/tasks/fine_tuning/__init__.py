"""What every fine-tuning of a pretrained transformer shares, whatever it is asked."""
