"""What was tried: trials and their outcomes, where they are kept, who runs them, and what they say."""
