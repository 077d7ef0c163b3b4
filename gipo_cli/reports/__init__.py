"""What a finished run says of itself, gathered from its directory, and how that is written down."""
