"""What is kept between runs, on disk."""
