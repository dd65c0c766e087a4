"""What changed between two commits, for the people who decide about a pull request."""
