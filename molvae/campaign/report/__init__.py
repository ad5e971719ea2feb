"""What a campaign tells."""
