"""Small models of images, plain torch."""
