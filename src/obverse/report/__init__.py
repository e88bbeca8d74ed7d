"""What an evaluation found: the report, its figures and its files."""
