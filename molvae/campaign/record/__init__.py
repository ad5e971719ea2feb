"""What a campaign keeps."""
